package gosdk

import (
	_ "github.com/mark3labs/mcp-go/client"
	_ "github.com/modelcontextprotocol/go-sdk/mcp"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/stretchr/testify/require"
)
