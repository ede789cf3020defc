// Package gosdk keeps the state of MCP servers that are built with github.com/modelcontextprotocol/go-sdk.
package gosdk
