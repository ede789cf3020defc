// Package mcphttp serves the Model Context Protocol over HTTP from several replicas: both eras of the protocol on one
// URL, sessions that every replica knows, and answers that end when their session does.
package mcphttp
