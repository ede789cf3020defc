// Package metrics has the names, units and meanings under which the integrations export what a [session.RoutingStorage]
// counts. Each name is that of OpenTelemetry; the one of Prometheus follows by its rules, so that one dashboard fits
// both. No metric has an id, a principal or a value, nor an attribute of which there are many.
package metrics

import (
	"strings"
	"time"

	"github.com/seed34611480/session"
)

// Metric is a number that a storage exports, or several, told apart by attributes.
type Metric struct {
	Name    string // of OpenTelemetry
	Unit    string // of UCUM
	Help    string
	Counter bool     // it only grows, from when the storage was made; otherwise it is a state
	Labels  []string // the keys of its attributes, as OpenTelemetry writes them

	// Read calls emit for each combination of attributes, with their values in the order of Labels.
	Read func(s *session.Stats, emit func(value float64, labels ...string))
}

// PrometheusName is the name under which a Prometheus sees the metric, also through OpenTelemetry's exporters.
func (m *Metric) PrometheusName() string {
	name := PrometheusLabel(m.Name)
	switch m.Unit {
	case "s":
		name += "_seconds"
	case "By":
		name += "_bytes"
	}
	if m.Counter {
		name += "_total"
	}
	return name
}

// PrometheusLabel is the name that the key of an attribute has in Prometheus.
func PrometheusLabel(key string) string { return strings.ReplaceAll(key, ".", "_") }

// All are the metrics of a storage.
var All = []Metric{
	{
		Name: "sessionstore.loads", Unit: "{load}", Counter: true, Labels: []string{"result"},
		Help: "Loads by how they were answered: hit, from the local tier; absent, from a remembered miss; miss, else.",
		Read: func(s *session.Stats, emit func(float64, ...string)) {
			emit(float64(s.Hits), "hit")
			emit(float64(s.Unknown), "absent")
			emit(float64(s.Misses), "miss")
		},
	},
	{
		Name: "sessionstore.failures", Unit: "{call}", Counter: true, Labels: []string{"operation", ErrorType},
		Help: "Calls that failed, by operation (load, write, refresh) and kind of error.",
		Read: func(s *session.Stats, emit func(float64, ...string)) {
			for _, of := range []struct {
				operation string
				f         session.Failures
			}{{"load", s.FailedLoads}, {"write", s.FailedWrites}, {"refresh", s.FailedRefreshes}} {
				emit(float64(of.f.NotFound), of.operation, NotFound)
				emit(float64(of.f.Unavailable), of.operation, Unavailable)
				emit(float64(of.f.Corrupt), of.operation, Corrupt)
				emit(float64(of.f.Conflict), of.operation, Conflict)
				emit(float64(of.f.Limit), of.operation, Limit)
				emit(float64(of.f.Canceled), of.operation, Canceled)
				emit(float64(of.f.Other), of.operation, Other)
			}
		},
	},
	{
		Name: "sessionstore.mode", Unit: "{mode}", Labels: []string{"mode"},
		Help: "1 for what permits to serve local sessions now, 0 for the others.",
		Read: func(s *session.Stats, emit func(float64, ...string)) {
			for _, mode := range []session.Mode{
				session.ModeLeased, session.ModeBoundedAge, session.ModeUnavailable, session.ModeStaleIfError,
			} {
				value := 0.
				if s.Mode == mode {
					value = 1
				}
				emit(value, string(mode))
			}
		},
	},
	{
		Name: "sessionstore.proof_age", Unit: "s",
		Help: "Time since the last proof that no change event was missing; not there before the first one.",
		Read: func(s *session.Stats, emit func(float64, ...string)) {
			if s.ProofAge >= 0 {
				emit(float64(s.ProofAge) / float64(time.Second))
			}
		},
	},
	counter("sessionstore.refused_copies", "{load}", "Misses although there was a copy: too old and without a lease.",
		func(s *session.Stats) uint64 { return s.Refused }),
	counter("sessionstore.stale_answers", "{load}", "Misses answered with older state in an outage (WithStaleIfError).",
		func(s *session.Stats) uint64 { return s.Stale }),
	counter("sessionstore.remote_loads", "{load}", "Loads sent to the remote.",
		func(s *session.Stats) uint64 { return s.RemoteLoads }),
	counter("sessionstore.refreshes", "{session}", "Sessions renewed in the background.",
		func(s *session.Stats) uint64 { return s.Refreshes }),
	counter("sessionstore.kept_alive", "{session}", "Sessions kept alive in the remote for KeepAlive.",
		func(s *session.Stats) uint64 { return s.Kept }),
	counter("sessionstore.failed_listings", "{call}", "Attempts to list sessions in use in an owner's index that failed.",
		func(s *session.Stats) uint64 { return s.FailedListings }),
	counter("sessionstore.dropped_fills", "{load}", "Remote loads not kept, as the session changed meanwhile.",
		func(s *session.Stats) uint64 { return s.DroppedFills }),
	counter("sessionstore.too_large", "{session}", "Sessions too large for the local tier.",
		func(s *session.Stats) uint64 { return s.TooLarge }),
	counter("sessionstore.queued_loads", "{load}", "Loads that waited for their turn (WithLoadConcurrency).",
		func(s *session.Stats) uint64 { return s.Queued }),
	counter("sessionstore.rejected_loads", "{load}", "Loads not sent: no turn in time, or an outage.",
		func(s *session.Stats) uint64 { return s.Rejected }),
	counter("sessionstore.dropped_uses", "{use}", "Uses of sessions that the remote was not told of.",
		func(s *session.Stats) uint64 { return s.DroppedUses }),
	counter("sessionstore.panics", "{panic}", "Panics in calls of the remote that were contained.",
		func(s *session.Stats) uint64 { return s.Panics }),
	counter("sessionstore.evictions", "{entry}", "Local entries that made room for others.",
		func(s *session.Stats) uint64 { return s.Evictions }),
	counter("sessionstore.events", "{event}", "Changes and removals that the remote reported.",
		func(s *session.Stats) uint64 { return s.Events }),
	counter("sessionstore.broadcasts", "{event}", "Events of a Redis Cluster that came by PUBLISH to all nodes.",
		func(s *session.Stats) uint64 { return s.Broadcast }),
	counter("sessionstore.revoked", "{entry}", "Local entries dropped because of an event.",
		func(s *session.Stats) uint64 { return s.Revoked }),
	counter("sessionstore.gaps", "{gap}", "Times that events began, or began anew after some may have been missed.",
		func(s *session.Stats) uint64 { return s.Gaps }),
	state("sessionstore.entries", "{entry}", "Entries in the local tier.",
		func(s *session.Stats) float64 { return float64(s.Entries) }),
	state("sessionstore.memory", "By", "Heap that the local tier takes.",
		func(s *session.Stats) float64 { return float64(s.Bytes) }),
	state("sessionstore.remembered_misses", "{id}", "Ids remembered of which the remote has no session.",
		func(s *session.Stats) float64 { return float64(s.Missing) }),
}

func counter(name, unit, help string, read func(*session.Stats) uint64) Metric {
	return Metric{
		Name: name, Unit: unit, Help: help, Counter: true,
		Read: func(s *session.Stats, emit func(float64, ...string)) { emit(float64(read(s))) },
	}
}

func state(name, unit, help string, read func(*session.Stats) float64) Metric {
	return Metric{
		Name: name, Unit: unit, Help: help,
		Read: func(s *session.Stats, emit func(float64, ...string)) { emit(read(s)) },
	}
}
