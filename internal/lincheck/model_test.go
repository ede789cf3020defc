package lincheck

import (
	"testing"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/assert"
)

// TestModel shows that the model accepts correct histories and rejects wrong ones. In each history every call ends
// before the next begins, unless it says otherwise.
func TestModel(t *testing.T) {
	t.Parallel()
	const id = "1"
	store := func(base uint64, value string) input { return input{"store", id, base, value} }
	create := func(value string) input { return input{kind: "create", id: id, value: value} }
	load := input{kind: "load", id: id}
	remove := input{kind: "delete", id: id}
	take := input{kind: "take", id: id}
	got := func(revision uint64, value string) output { return output{revision: revision, value: value} }
	failed := func(err string) output { return output{err: err} }
	type call struct {
		in  input
		out output
	}
	for name, test := range map[string]struct {
		calls []call
		at    bool // all calls overlap
		want  bool
	}{
		"one lifetime": {calls: []call{
			{load, failed("not found")},
			{create("a"), got(1, "a")},
			{create("b"), failed("exists")},
			{store(1, "c"), got(5, "c")},
			{store(1, "d"), failed("conflict")},
			{load, got(5, "c")},
			{take, got(5, "c")},
			{take, failed("not found")},
			{store(5, "e"), failed("not found")},
			{remove, output{}},
			{store(0, "f"), got(6, "f")},
		}, want: true},
		"overlapping calls may take effect in any order": {calls: []call{
			{load, got(1, "a")}, {store(0, "a"), got(1, "a")}, {load, failed("not found")},
		}, at: true, want: true},
		"outdated load": {calls: []call{
			{store(0, "a"), got(1, "a")}, {store(0, "b"), got(2, "b")}, {load, got(1, "a")},
		}},
		"lost write": {calls: []call{{store(0, "a"), got(1, "a")}, {load, failed("not found")}}},
		"load of what was deleted": {calls: []call{
			{store(0, "a"), got(1, "a")}, {remove, output{}}, {load, got(1, "a")},
		}},
		"two compare-and-sets on one revision": {calls: []call{
			{store(0, "a"), got(1, "a")}, {store(1, "b"), got(2, "b")}, {store(1, "c"), got(3, "c")},
		}},
		"two compare-and-sets on one revision at the same time": {calls: []call{
			{store(0, "a"), got(1, "a")}, {store(1, "b"), got(2, "b")}, {store(1, "c"), got(3, "c")},
		}, at: true},
		"resurrection": {calls: []call{
			{store(0, "a"), got(1, "a")}, {remove, output{}}, {store(1, "b"), got(2, "b")},
		}},
		"two creates at the same time": {calls: []call{{create("a"), got(1, "a")}, {create("b"), got(2, "b")}}, at: true},
		"two takes at the same time": {calls: []call{
			{store(0, "a"), got(1, "a")}, {take, got(1, "a")}, {take, got(1, "a")},
		}, at: true},
		"conflict without another writer": {calls: []call{{store(0, "a"), got(1, "a")}, {store(1, "b"), failed("conflict")}}},
		"value of another revision":       {calls: []call{{store(0, "a"), got(1, "a")}, {load, got(1, "b")}}},
		"a revision used again": {calls: []call{
			{create("a"), got(1, "a")}, {remove, output{}}, {create("b"), got(1, "b")},
		}},
		"an error that the model does not know": {calls: []call{{load, failed("storage unavailable")}}},
	} {
		var history []porcupine.Operation
		for i, c := range test.calls {
			op := porcupine.Operation{ClientId: i, Input: c.in, Output: c.out, Call: int64(2 * i), Return: int64(2*i + 1)}
			if test.at {
				op.Call, op.Return = 0, 1
			}
			history = append(history, op)
		}
		assert.Equal(t, test.want, porcupine.CheckOperations(model, history), name)
	}
}

func TestSessionsAreCheckedOneByOne(t *testing.T) {
	t.Parallel()
	history := []porcupine.Operation{
		{Input: input{kind: "store", id: "1", value: "a"}, Output: output{revision: 1, value: "a"}, Return: 1},
		{Input: input{kind: "load", id: "2"}, Output: output{err: "not found"}, Call: 2, Return: 3},
		{Input: input{kind: "load", id: "1"}, Output: output{revision: 1, value: "a"}, Call: 4, Return: 5},
	}
	assert.Len(t, byID(history), 2)
	assert.True(t, porcupine.CheckOperations(model, history))
}
