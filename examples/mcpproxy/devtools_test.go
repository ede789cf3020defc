package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const wide, high = 1180, 826 // of the window

// browser is a page in a headless Chromium, driven by the DevTools protocol through a pair of pipes.
type browser struct {
	t    *testing.T
	to   io.WriteCloser
	page string // the DevTools session of the page

	mu      sync.Mutex // protects following fields
	sent    int
	waiting map[int]chan answerOfBrowser
	errors  []string // exceptions and errors of the page
}

type answerOfBrowser struct {
	ID     int             `json:"id"`
	Method string          `json:"method"` // of an event
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// openBrowser starts a Chromium with one page. The test is skipped if there is none.
func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("needs chromium in PATH")
	}
	fromUs, toBrowser, err := os.Pipe()
	require.NoError(t, err)
	fromBrowser, toUs, err := os.Pipe()
	require.NoError(t, err)
	//nolint:usetesting // a Chromium that ends may still write to it, which would fail the test
	folder, err := os.MkdirTemp("", "mcpproxy-page-")
	require.NoError(t, err)

	process := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe", "--user-data-dir="+folder)
	process.ExtraFiles = []*os.File{fromUs, toUs} // 3 and 4
	require.NoError(t, process.Start())
	require.NoError(t, fromUs.Close())
	require.NoError(t, toUs.Close())

	b := &browser{t: t, to: toBrowser, waiting: make(map[int]chan answerOfBrowser)}
	var reading sync.WaitGroup
	reading.Go(func() { b.read(fromBrowser) })
	t.Cleanup(func() {
		b.page = ""
		_, _ = b.try("Browser.close", nil)
		late := time.AfterFunc(5*time.Second, func() { _ = process.Process.Kill() })
		_ = process.Wait()
		late.Stop()
		_ = toBrowser.Close()
		_ = fromBrowser.Close()
		reading.Wait()
		_ = os.RemoveAll(folder)
	})

	var target struct {
		ID string `json:"targetId"` //nolint:tagliatelle // the protocol's name
	}
	b.send("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct {
		ID string `json:"sessionId"` //nolint:tagliatelle // the protocol's name
	}
	b.send("Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &session)
	b.page = session.ID
	b.send("Runtime.enable", nil, nil)
	b.send("Log.enable", nil, nil)
	b.send("Page.enable", nil, nil)
	b.resize(wide, high)
	b.send("Page.navigate", map[string]any{"url": url}, nil)
	return b
}

// read passes answers on to those who wait for them.
func (b *browser) read(from io.Reader) {
	var rest []byte
	chunk := make([]byte, 64<<10)
	for {
		n, err := from.Read(chunk)
		if err != nil {
			return
		}
		rest = append(rest, chunk[:n]...)
		for {
			message, after, whole := bytes.Cut(rest, []byte{0})
			if !whole {
				break
			}
			rest = after
			b.heard(message)
		}
	}
}

func (b *browser) heard(message []byte) {
	var answer answerOfBrowser
	if json.Unmarshal(message, &answer) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch answer.Method {
	case "Runtime.exceptionThrown", "Log.entryAdded":
		if bytes.Contains(answer.Params, []byte(`"source":"network"`)) {
			return // an answer that is no success: the page says what has happened
		}
		b.errors = append(b.errors, string(answer.Params))
	case "":
		if waiter := b.waiting[answer.ID]; waiter != nil {
			delete(b.waiting, answer.ID)
			waiter <- answer
		}
	}
}

// try sends a command and waits for its answer.
func (b *browser) try(method string, params map[string]any) (answerOfBrowser, error) {
	b.mu.Lock()
	b.sent++
	id, waiter := b.sent, make(chan answerOfBrowser, 1)
	b.waiting[id] = waiter
	b.mu.Unlock()
	command := map[string]any{"id": id, "method": method, "params": params}
	if params == nil {
		command["params"] = struct{}{}
	}
	if b.page != "" {
		command["sessionId"] = b.page
	}
	encoded, err := json.Marshal(command)
	if err != nil {
		return answerOfBrowser{}, err
	}
	if _, err := b.to.Write(append(encoded, 0)); err != nil {
		return answerOfBrowser{}, err
	}
	select {
	case answer := <-waiter:
		if answer.Error != nil {
			return answer, fmt.Errorf("%s: %s", method, answer.Error.Message)
		}
		return answer, nil
	case <-time.After(30 * time.Second):
		return answerOfBrowser{}, fmt.Errorf("%s: %w", method, context.DeadlineExceeded)
	}
}

func (b *browser) send(method string, params map[string]any, into any) {
	b.t.Helper()
	answer, err := b.try(method, params)
	require.NoError(b.t, err)
	if into != nil {
		require.NoError(b.t, json.Unmarshal(answer.Result, into))
	}
}

// eval returns the value of an expression in the page.
func (b *browser) eval(expression string, into any) {
	b.t.Helper()
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception json.RawMessage `json:"exceptionDetails"` //nolint:tagliatelle // the protocol's name
	}
	b.send("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &got)
	require.Empty(b.t, string(got.Exception), expression)
	require.NoError(b.t, json.Unmarshal(got.Result.Value, into), expression)
}

// text returns what the page shows in an element, "" if there is none.
func (b *browser) text(selector string) string {
	b.t.Helper()
	var text string
	b.eval(fmt.Sprintf("document.querySelector(%q)?.innerText ?? ''", selector), &text)
	return text
}

// await waits until the text of an element is as wanted, and returns it.
func (b *browser) await(selector string, wanted func(text string) bool) string {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		text := b.text(selector)
		if wanted(text) {
			return text
		}
		require.True(b.t, time.Now().Before(deadline), "%s is %q; the page:\n%s", selector, text, b.text("body"))
		time.Sleep(20 * time.Millisecond)
	}
}

// click presses buttons one right after the other, with the mouse. Each is found by its name, as for a screen reader.
func (b *browser) click(names ...string) {
	b.t.Helper()
	at := make([][2]float64, len(names))
	for i, name := range names {
		b.eval(fmt.Sprintf(`(() => {
			const all = [...document.querySelectorAll("button:not([hidden]):not(:disabled)")];
			const button = all.find(b => (b.getAttribute("aria-label") ?? b.innerText) === %q);
			if (!button) throw Error("no such button");
			button.scrollIntoView({block: "nearest"});
			const r = button.getBoundingClientRect();
			return [r.x + r.width / 2, r.y + r.height / 2];
		})()`, name), &at[i])
	}
	for _, point := range at {
		for _, kind := range []string{"mousePressed", "mouseReleased"} {
			b.send("Input.dispatchMouseEvent", map[string]any{
				"type": kind, "x": point[0], "y": point[1], "button": "left", "clickCount": 1,
			}, nil)
		}
	}
}

// requireReadable checks that text stands out from what is behind it (WCAG AA), and that all else has a name.
func (b *browser) requireReadable(scheme string) {
	b.t.Helper()
	b.prefer(scheme)
	var faults []string
	b.eval(`(() => {
		const rgb = colour => colour.match(/[\d.]+/g).map(Number);
		const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
			.map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
			.reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
		const behind = e => {
			for (; e; e = e.parentElement) {
				const colour = rgb(getComputedStyle(e).backgroundColor);
				if (colour.length === 3) return colour;
			}
			return [255, 255, 255];
		};
		const faults = [];
		for (const e of document.querySelectorAll("h1, h2, p, th, time, li span, figcaption span, b, button, .pill")) {
			if (!e.checkVisibility() || !e.innerText) continue;
			const two = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => b - a);
			const contrast = (two[0] + .05) / (two[1] + .05);
			if (contrast < 4.5) faults.push(e.innerText + ": " + contrast.toFixed(1));
		}
		for (const e of document.querySelectorAll("svg, section")) {
			if (!e.ariaLabel && !e.getAttribute("aria-labelledby")) faults.push(e.tagName + " has no name");
		}
		if (document.documentElement.scrollWidth > innerWidth) faults.push("wider than the window");
		return faults;
	})()`, &faults)
	require.Empty(b.t, faults, scheme)
}

func (b *browser) resize(width, height int) {
	b.t.Helper()
	b.send("Emulation.setDeviceMetricsOverride", map[string]any{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
	}, nil)
}

// prefer sets the colours that the user likes.
func (b *browser) prefer(scheme string) {
	b.t.Helper()
	b.send("Emulation.setEmulatedMedia", map[string]any{
		"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}},
	}, nil)
}

// screenshot writes what the page looks like to a PNG file.
func (b *browser) screenshot(file, scheme string) {
	b.t.Helper()
	b.prefer(scheme)
	var got struct {
		Data string `json:"data"`
	}
	b.send("Page.captureScreenshot", map[string]any{"format": "png"}, &got)
	picture, err := base64.StdEncoding.DecodeString(got.Data)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(file, picture, 0o600))
}
