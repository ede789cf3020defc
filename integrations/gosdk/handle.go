package gosdk

import (
	"errors"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/handle"
	"github.com/seed34611480/session/internal/errs"
)

// Principal returns who has sent a request, as far as its token tells: [session.Principal] of the issuer and the UserID
// of the auth.TokenInfo that came with this very request. It is "" when there is no token, or no UserID in it.
//
// TokenInfo has no place for the issuer. Principal takes it from Extra["iss"], if there is a string; without one, the
// issuer is "". Servers that accept tokens of several issuers have their auth.TokenVerifier set it: two issuers may
// give the same UserID to different users.
func Principal(req mcp.Request) string { return principalOf(req.GetExtra()) }

func principalOf(extra *mcp.RequestExtra) string {
	if extra == nil || extra.TokenInfo == nil || extra.TokenInfo.UserID == "" {
		return ""
	}
	issuer, _ := extra.TokenInfo.Extra["iss"].(string)
	return session.Principal(issuer, extra.TokenInfo.UserID)
}

// For returns the store bound to the [Principal] of a request, for the handler of a tool. Without one its methods
// return [handle.ErrNoOwner], unless the store is [handle.Anonymous].
//
//	basket, err := gosdk.For(baskets, req).Load(ctx, in.Basket)
//	if err != nil {
//		return nil, out{}, gosdk.ToolError(err)
//	}
func For[T any](store *handle.Store[T], req mcp.Request) handle.Owned[T] {
	return store.For(Principal(req))
}

// ToolError returns what the handler of a tool should return for an error of a [handle.Store]. A model reads the text
// of it, so it says what to do:
//
//   - [session.ErrNotFound], [session.ErrCorrupt]: start again with the tool that returned the handle.
//   - [session.ErrUnavailable], [session.ErrClosed], the end of a context: keep the handle, and try again.
//   - [session.ErrTooLarge], [session.ErrTooMany]: keep less.
//   - Mistakes of the program, such as [handle.ErrNoOwner]: a JSON-RPC error -32603, as a model could do nothing about
//     them.
//
// Other errors, those of a function that was given to Update for example, and nil, are returned as they are. The error
// still matches what err matches, except for mistakes of the program.
func ToolError(err error) error {
	switch {
	case err == nil:
		return nil
	case isAway(err):
		return &toolError{"unavailable at the moment: keep the handle, and try again", err}
	case errors.Is(err, session.ErrNotFound), errors.Is(err, session.ErrCorrupt):
		return &toolError{"unknown or expired handle: start again with the tool that returned it", err}
	case errors.Is(err, session.ErrTooLarge):
		return &toolError{"too large: this cannot be kept behind one handle", err}
	case errors.Is(err, session.ErrTooMany):
		return &toolError{"too many handles: end one that is not needed any more, or try again later", err}
	case errors.Is(err, handle.ErrNoOwner), errors.Is(err, session.ErrEncode), errors.Is(err, session.ErrLifetime),
		errs.Unsupported(err):
		return internalError(err.Error())
	default:
		return err
	}
}

// toolError has a text for a model, instead of the one of its cause.
type toolError struct {
	text  string
	cause error
}

func (e *toolError) Error() string { return e.text }

func (e *toolError) Unwrap() error { return e.cause }
