//go:build unix

package faults

import (
	"runtime"
	"sync"
	"time"

	"github.com/seed34611480/session"
	"github.com/seed34611480/session/internal/realtest"
)

// pressureSample is what was seen at an instant.
type pressureSample struct {
	at            time.Time
	leased        bool
	loads, failed uint64
	goroutines    int
}

func (p *pressure) sample() pressureSample {
	counts := p.traffic.Counts()
	return pressureSample{
		at:     time.Now(),
		leased: p.replica.Load().Stats().Mode == session.ModeLeased,
		loads:  counts.Loads, failed: counts.FailedLoads,
		goroutines: runtime.NumGoroutine(),
	}
}

// watch takes samples until stop is called, which returns them.
func (p *pressure) watch() (stop func() []pressureSample) {
	var (
		samples []pressureSample
		running sync.WaitGroup
		done    = make(chan struct{})
	)
	running.Go(func() {
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			samples = append(samples, p.sample())
			select {
			case <-ticker.C:
			case <-done:
				return
			}
		}
	})
	return func() []pressureSample {
		close(done)
		running.Wait()
		return samples
	}
}

// pressureFigures is the result of an event. Durations count from the end of the event.
type pressureFigures struct {
	realtest.Counts
	lost        bool          // the replica was not leased for a while
	leased      time.Duration // until it was leased again; negative: it never was
	leasedShare float64       // of the time
	during      failures      // before the event ended
	early, late failures      // in the first seconds after it, and from then on
	quiet       failures      // in the last seconds
	lastFailure time.Duration
	remoteLoads uint64
	goroutines  int // at the peak
}

// failures are the loads that failed in a part of the time, and all loads in it.
type failures struct{ failed, loads uint64 }

func summarize(samples []pressureSample, begun, ended time.Time) pressureFigures {
	f := pressureFigures{leased: -1}
	end := samples[len(samples)-1].at
	leased, after := 0, 0
	for i, s := range samples[1:] {
		f.goroutines = max(f.goroutines, s.goroutines)
		f.lost = f.lost || !s.leased && s.at.After(begun)
		since := s.at.Sub(ended)
		part := &f.during
		if since > 0 {
			part = &f.early
			after++
			if s.leased {
				leased++
			}
			if f.lost && s.leased && f.leased < 0 {
				f.leased = since
			}
		}
		if since > pressureEarly {
			part = &f.late
		}
		failed, loads := s.failed-samples[i].failed, s.loads-samples[i].loads
		*part = part.plus(failed, loads)
		if end.Sub(s.at) < pressureQuiet {
			f.quiet = f.quiet.plus(failed, loads)
		}
		if failed > 0 {
			f.lastFailure = max(0, since)
		}
	}
	f.leasedShare = float64(leased) / float64(max(1, after))
	return f
}

func (f failures) plus(failed, loads uint64) failures {
	return failures{f.failed + failed, f.loads + loads}
}
