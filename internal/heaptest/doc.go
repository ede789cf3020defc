// Package heaptest measures the heap, which needs a process without other tests.
package heaptest
