// Package mcptest tests package mcphttp with the clients and servers of both Go SDKs, over real HTTP. It is a module of
// its own, so that the library does not depend on them.
package mcptest
