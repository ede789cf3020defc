package faults

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/redistest"
)

// BenchmarkEventLatency measures the time from the start of a write through one replica until another replica, with a
// copy of the old state, answers with the new one.
func BenchmarkEventLatency(b *testing.B) {
	server := redistest.Start(b)
	writer, reader := replica(b, server.Client(b)), replica(b, server.Client(b))
	awaitMode(b, writer, session.ModeLeased)
	awaitMode(b, reader, session.ModeLeased)
	const id = "id"

	load := func() (uint64, error) {
		s, err := reader.Load(b.Context(), id)
		if err != nil {
			return 0, err
		}
		return s.Revision(), nil
	}
	var revision uint64
	store := func() {
		s := session.New(id)
		require.NoError(b, writer.Store(b.Context(), s))
		revision = s.Revision()
	}
	stored := func() bool {
		seen, err := load()
		return err == nil && seen == revision
	}
	remove := func() { require.NoError(b, writer.Delete(b.Context(), id)) }
	removed := func() bool {
		_, err := load()
		return errors.Is(err, session.ErrNotFound)
	}

	b.Run("Store", func(b *testing.B) {
		store()
		measureLatency(b, func() { spinUntil(stored) }, store, stored)
	})
	b.Run("Delete", func(b *testing.B) {
		measureLatency(b, func() {
			store()
			spinUntil(stored)
		}, remove, removed)
	})
}

func measureLatency(b *testing.B, prepare, write func(), seen func() bool) {
	b.Helper()
	var latencies []time.Duration
	for b.Loop() {
		prepare()
		start := time.Now()
		write()
		spinUntil(seen)
		latencies = append(latencies, time.Since(start))
	}
	slices.Sort(latencies)
	report := func(unit string, index int) {
		b.ReportMetric(float64(latencies[index])/float64(time.Millisecond), unit)
	}
	report("p50-ms", len(latencies)/2)
	report("p99-ms", len(latencies)*99/100)
	report("max-ms", len(latencies)-1)
}

// spinUntil polls often, but leaves the processor to the network in between.
func spinUntil(done func() bool) {
	for !done() {
		time.Sleep(20 * time.Microsecond)
	}
}
