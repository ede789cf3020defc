package doctest

import (
	"net/http"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
)

// TestWebAppOfDocsRuns uses the program of docs/webapps.md with several browsers.
func TestWebAppOfDocsRuns(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	file := build(t, blocks(t, filepath.Join(root, "docs", "webapps.md"))[0], map[string]string{
		"return false // yours": `return user != "" && password == "right"`,
	})
	program := start(t, file, map[string]string{"6379": server.Addr()})
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	remote := session.NewRedisStorage(client, time.Minute, session.WithOwnerIndex())
	home := func(cookie string) reply { return send(t, http.MethodGet, program.url+"/", "Cookie", cookie) }
	logIn := func(cookie, user, password, more string) (reply, *http.Cookie) {
		form := url.Values{"user": {user}, "password": {password}}.Encode() + more
		answer := send(t, http.MethodPost, program.url+"/login?"+form, "Cookie", cookie)
		for _, set := range (&http.Response{Header: answer.header}).Cookies() {
			return answer, set
		}
		return answer, &http.Cookie{}
	}
	of := func(c *http.Cookie) string { return c.Name + "=" + c.Value }

	assert.Equal(t, "please log in", home("").text)
	assert.Equal(t, "please log in", home("__Host-id=planted").text)
	refused, none := logIn("", "alice", "wrong", "")
	assert.Equal(t, http.StatusUnauthorized, refused.status)
	assert.Empty(t, none.Value)

	_, laptop := logIn("__Host-id=planted", "alice", "right", "")
	_, phone := logIn("", "alice", "right", "&remember=on")
	_, bob := logIn("", "bob", "right", "")
	assert.NotEqual(t, "planted", laptop.Value)
	assert.True(t, laptop.Secure && laptop.HttpOnly && laptop.SameSite == http.SameSiteLaxMode)
	assert.Zero(t, laptop.MaxAge)
	assert.Equal(t, 90*24*3600, phone.MaxAge)
	assert.Less(t, server.TTL("session: "+laptop.Value).Minutes(), 31.0)
	assert.Greater(t, server.TTL("session: "+phone.Value).Hours(), 29*24.0)
	assert.Equal(t, "hello alice", home(of(laptop)).text)

	anonymous := session.New(session.NewID()).With("basket", "full")
	require.NoError(t, remote.Create(t.Context(), anonymous))
	_, carol := logIn("__Host-id="+anonymous.ID(), "carol", "right", "")
	_, err := remote.Load(t.Context(), anonymous.ID())
	assert.ErrorIs(t, err, session.ErrNotFound)
	renewed, err := remote.Load(t.Context(), carol.Value)
	require.NoError(t, err)
	basket, _ := renewed.Get("basket")
	assert.Equal(t, "full", basket)

	_, again := logIn(of(laptop), "bob", "right", "")
	assert.NotEqual(t, laptop.Value, again.Value)
	assert.Equal(t, "please log in", home(of(laptop)).text, "the old id is of no use")
	assert.Equal(t, "good bye", send(t, http.MethodPost, program.url+"/logout", "Cookie", of(again)).text)
	assert.Equal(t, "please log in", home(of(again)).text)

	_, laptop = logIn("", "alice", "right", "")
	cross := send(t, http.MethodPost, program.url+"/logout", "Cookie", of(laptop), "Sec-Fetch-Site", "cross-site")
	assert.Equal(t, http.StatusForbidden, cross.status)
	assert.Equal(t, "good bye", send(t, http.MethodPost, program.url+"/logout-everywhere", "Cookie", of(laptop)).text)
	for _, cookie := range []*http.Cookie{laptop, phone} {
		assert.Equal(t, "please log in", home(of(cookie)).text)
	}
	assert.Equal(t, "hello bob", home(of(bob)).text)

	server.Close()
	answer := send(t, http.MethodPost, program.url+"/logout", "Cookie", of(bob))
	require.Equal(t, http.StatusServiceUnavailable, answer.status)
	assert.Empty(t, answer.header.Get("Set-Cookie"), "the user can try again")
	logged := program.stop()
	assert.NotContains(t, logged, "panic")
	assert.NotContains(t, logged, bob.Value, "ids are in no log")
}
