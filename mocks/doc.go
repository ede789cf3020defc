// Package mocks holds a testify mock of [session.Storage], for testing code that uses one.
//
//	storage := mocks.NewStorage(t)
//	storage.EXPECT().Load(mock.Anything, "some-id").Return(nil, session.ErrNotFound)
//
// The mock is generated. If a test only needs a storage that works, session.NewMemoryStorage is simpler.
package mocks

//go:generate go tool -modfile=../tools/go.mod mockery --config mockery.yml
