// Package mocks holds a testify mock of [session.Storage], for testing code that uses one.
//
//	storage := mocks.NewStorage(t)
//	storage.EXPECT().Load(mock.Anything, "some-id").Return(nil, session.ErrNotFound)
//
// It is generated. Where a working storage would do, session.NewMemoryStorage is the simpler double.
package mocks

//go:generate go tool -modfile=../tools/go.mod mockery --config ../.mockery.yml
