// Package conformance runs the conformance suite of the Model Context Protocol against servers that are built on this
// library: three replicas with one Redis, and three that share nothing, behind proxies; each for both eras of the
// protocol. It has tests only.
//
// The suite is a program for Node. package-lock.json names it and all that it needs by their checksums; .ci/run and the
// task "conformance" have npm install them, and tell where by MCP_CONFORMANCE. Without that, the tests are skipped.
//
// tools_test.go, rounds_test.go, tasks_test.go and content_test.go have what the suite calls by its name;
// replicas_test.go puts it together as an application does; suite_test.go runs the suite and judges.
package conformance
