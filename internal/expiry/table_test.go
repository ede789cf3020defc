package expiry

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const idle = time.Minute

var start = time.Now()

// after is an instant of the tests, which have a clock of their own.
func after(d time.Duration) time.Time { return start.Add(d) }

func TestOver(t *testing.T) {
	t.Parallel()
	const never = 1000 * time.Hour
	for name, test := range map[string]struct {
		lifetime Lifetime
		over     time.Duration // after the last use, which was 10 s after start
	}{
		"the table's":            {Lifetime{}, idle},
		"the table's, and later": {Lifetime{End: after(time.Hour)}, idle},
		"the end before":         {Lifetime{End: after(30 * time.Second)}, 20 * time.Second},
		"longer":                 {Lifetime{Idle: time.Hour}, time.Hour},
		"shorter":                {Lifetime{Idle: time.Second}, time.Second},
		"shorter than its end":   {Lifetime{Idle: time.Second, End: after(time.Hour)}, time.Second},
		"longer than its end":    {Lifetime{Idle: time.Hour, End: after(30 * time.Second)}, 20 * time.Second},
		"only its end":           {Lifetime{Idle: -1, End: after(time.Hour)}, time.Hour - 10*time.Second},
		"none at all":            {Lifetime{Idle: -1}, never},
	} {
		table := New[int](idle)
		table.Put("id", "", 1, test.lifetime, after(0))
		e := table.Get("id")
		used := after(10 * time.Second)
		table.Use(e, used)
		require.False(t, e.Over(used.Add(test.over-1)), name)
		require.Nil(t, table.Over(used.Add(test.over-1)), name)
		if test.over == never {
			continue
		}
		require.True(t, e.Over(used.Add(test.over)), name)
		require.Same(t, e, table.Over(used.Add(test.over)), name)
	}
}

// modelled is what a table should hold for an id.
type modelled struct {
	group    string
	value    int
	lifetime Lifetime
	usedAt   time.Time
}

func (m modelled) over(now time.Time) bool {
	idleTime := m.lifetime.Idle
	if idleTime == 0 {
		idleTime = idle
	}
	return idleTime > 0 && now.Sub(m.usedAt) >= idleTime || !m.lifetime.End.IsZero() && !now.Before(m.lifetime.End)
}

func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

// TestTableAgainstAModel compares every answer after each of many random steps with that of a plain map.
func TestTableAgainstAModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		table, model, now := New[int](idle), map[string]modelled{}, start
		for step := range 400 {
			id := fmt.Sprint("id-", rng.IntN(30))
			now = now.Add(upTo(rng, 10*time.Second))
			e := table.Get(id)
			switch n := rng.IntN(10); {
			case n < 5:
				m := modelled{[]string{"", "a", "b"}[rng.IntN(3)], step, Lifetime{}, now}
				if rng.IntN(2) == 0 {
					m.lifetime.Idle = upTo(rng, 3*idle) - idle
				}
				if rng.IntN(2) == 0 || m.lifetime.Idle < 0 {
					m.lifetime.End = now.Add(upTo(rng, 3*idle))
				}
				table.Put(id, m.group, m.value, m.lifetime, now)
				model[id] = m
			case n < 8 && e != nil:
				table.Use(e, now)
				m := model[id]
				m.usedAt = now
				model[id] = m
			case e != nil:
				table.Remove(e)
				delete(model, id)
			}
			for e := table.Over(now); e != nil; e = table.Over(now) {
				require.True(t, model[e.ID].over(now), "seed %d", seed)
				table.Remove(e)
				delete(model, e.ID)
			}
			agree(t, table, model, now)
		}
	}
}

func agree(t *testing.T, table *Table[int], model map[string]modelled, now time.Time) {
	t.Helper()
	require.Equal(t, len(model), table.Len())
	groups := map[string][]string{}
	var idlest time.Time
	for id, want := range model {
		e := table.Get(id)
		require.NotNil(t, e)
		require.Equal(t, want, modelled{e.Group, e.Value, want.lifetime, e.UsedAt})
		require.Equal(t, want.over(now), e.Over(now))
		require.False(t, e.Over(now), "it should have been found")
		if want.lifetime.Idle == 0 && (idlest.IsZero() || want.usedAt.Before(idlest)) {
			idlest = want.usedAt
		}
		groups[want.group] = append(groups[want.group], id)
	}
	if oldest := table.Idlest(); idlest.IsZero() {
		require.Nil(t, oldest)
	} else {
		require.Equal(t, idlest, oldest.UsedAt)
	}
	for _, group := range []string{"a", "b", "c"} {
		var members []string
		for e := range table.Group(group) {
			members = append(members, e.ID)
		}
		slices.Sort(members)
		slices.Sort(groups[group])
		require.Equal(t, groups[group], members)
		require.Equal(t, len(members), table.GroupLen(group))
	}
	require.Zero(t, table.GroupLen(""))
}

func TestGroupMayChangeWhileItIsRead(t *testing.T) {
	t.Parallel()
	table := New[int](idle)
	for i := range 100 {
		table.Put(strconv.Itoa(i), "g", i, Lifetime{}, start)
	}
	var seen []int
	for e := range table.Group("g") {
		seen = append(seen, e.Value)
		if e.Value%2 == 0 {
			table.Remove(e)
		}
		if e.Value == 89 {
			break
		}
	}
	require.Len(t, seen, 90)
	require.True(t, slices.IsSorted(seen))
	require.Equal(t, 100-45, table.GroupLen("g"))
	for e := range table.Group("g") {
		table.Remove(e)
	}
	require.Zero(t, table.Len())
	require.Zero(t, table.groups.len(), "an empty group is forgotten")
}

// TestTableGivesMemoryBack is not parallel, as it measures the memory of the process.
func TestTableGivesMemoryBack(t *testing.T) {
	inUse := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	const n = 200_000
	for name, lifetime := range map[string]Lifetime{"idle": {}, "own": {Idle: time.Hour}} {
		for _, groups := range []int{1, n} {
			table := New[int](idle)
			before := inUse()
			for i := range n {
				table.Put(fmt.Sprintf("id-of-a-usual-length-%012d", i), fmt.Sprint("group-", i%groups), i, lifetime, start)
			}
			full := inUse()
			for i := range n - 3 {
				table.Remove(table.Get(fmt.Sprintf("id-of-a-usual-length-%012d", i)))
			}
			after := inUse()
			t.Logf("%s, %d groups: KiB: %d before, %d full, %d after", name, groups, before>>10, full>>10, after>>10)
			require.Less(t, after, before+(full-before)/50)
			require.Equal(t, 3, table.Len())
			runtime.KeepAlive(table)
		}
	}
}
