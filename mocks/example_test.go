package mocks_test //nolint:testableexamples // its code is in a test, which needs a testing.T

import (
	"context"
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/mocks"
)

// storage is a mock that is a session.Creator, too.
type storage struct{ *mocks.Storage }

func (s storage) Create(ctx context.Context, created *session.Session) error {
	return s.Called(ctx, created).Error(0)
}

// A mock for each call that a test expects. The mock has the four methods of session.Storage; a test adds the
// capabilities that its code needs.
func Example() {
	// func TestLogin(t *testing.T)
	_ = func(t *testing.T) {
		st := storage{mocks.NewStorage(t)}
		st.EXPECT().Load(mock.Anything, "some-id").Return(nil, session.ErrNotFound)
		st.On("Create", mock.Anything, mock.Anything).Return(session.ErrUnavailable)

		_, err := st.Load(t.Context(), "some-id")
		require.ErrorIs(t, err, session.ErrNotFound)
		err = session.Create(t.Context(), st, session.New("some-id"))
		require.ErrorIs(t, err, session.ErrUnavailable)
	}
}
