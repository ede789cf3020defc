package main

import (
	"context"
	"fmt"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/seed34611480/session/integrations/gosdk"
)

const (
	pollInterval = 50 * time.Millisecond // of a task's client
	pageTime     = 20 * time.Millisecond // to render a page
)

// answer is the result of "count".
type answer struct {
	Backend string `json:"backend"`
	Count   int    `json:"count"   jsonschema:"number of calls that this session has made; 1 if there are no sessions"`
}

// basket is what a handle stands for, and the result of the tools that use one.
type basket struct {
	Items []string `json:"items"`
}

type opened struct {
	Basket string `json:"basket" jsonschema:"pass this to add_item"`
}

type item struct {
	Basket string `json:"basket"`
	Item   string `json:"item"`
}

type pages struct {
	Pages int `json:"pages"`
}

func (b *backend) addTools() {
	tool := func(name, description string) *mcp.Tool { return &mcp.Tool{Name: name, Description: description} }
	mcp.AddTool(b.mcp, tool("count", "Counts the calls of this session."), b.countCall)
	mcp.AddTool(b.mcp, tool("open_basket", "Opens a basket."), b.openBasket)
	mcp.AddTool(b.mcp, tool("add_item", "Puts an item into a basket."), b.addItem)
	mcp.AddTool(b.mcp, tool("render", "Takes a while: a task, for clients that know tasks."), b.render)
}

func (b *backend) countCall(
	_ context.Context, r *mcp.CallToolRequest, _ struct{},
) (*mcp.CallToolResult, answer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.calls[r.Session] + 1
	b.calls[r.Session] = n
	if n == 1 {
		go b.forget(r.Session)
	}
	return nil, answer{Backend: b.name, Count: n}, nil
}

// forget waits for the end of a session.
func (b *backend) forget(s *mcp.ServerSession) {
	_ = s.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.calls, s)
}

func (b *backend) openBasket(
	ctx context.Context, r *mcp.CallToolRequest, _ struct{},
) (*mcp.CallToolResult, opened, error) {
	h, err := gosdk.For(b.baskets, r).Mint(ctx, basket{Items: []string{}})
	return nil, opened{h}, gosdk.ToolError(err)
}

func (b *backend) addItem(ctx context.Context, r *mcp.CallToolRequest, in item) (*mcp.CallToolResult, basket, error) {
	now, err := gosdk.For(b.baskets, r).Update(ctx, in.Basket, func(b *basket) error {
		b.Items = append(b.Items, in.Item)
		return nil
	})
	return nil, now, gosdk.ToolError(err)
}

func (b *backend) render(ctx context.Context, _ *mcp.CallToolRequest, in pages) (*mcp.CallToolResult, any, error) {
	for range in.Pages {
		select {
		case <-time.After(pageTime):
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	done := fmt.Sprintf("%d pages by backend %s", in.Pages, b.name)
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: done}}}, nil, nil
}
