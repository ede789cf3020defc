package sessiontest

import "github.com/seed34611480/session"

var snapshotCases = []testCase{
	{"SnapshotOfStored", snapshotOfStored},
	{"SnapshotOfLoaded", snapshotOfLoaded},
	{"SnapshotOfEach", snapshotOfEach},
	{"Immutable", immutable},
}

// snapshotOfStored: the storage keeps its own snapshot, not the caller's pointer. Storing the same session in another
// storage changes the revision of the caller's session, and must not change the stored one.
func snapshotOfStored(e *env) {
	s := e.stored()
	revision := s.Revision()
	session.Stamp(s, revision+1000)
	got := e.load(s.ID())
	if got.Revision() != revision {
		e.Errorf("the stored revision followed the caller's session: it is %d, want %d", got.Revision(), revision)
	}
	e.store(got.With("k", "v"))
}

// snapshotOfLoaded: the same for a loaded session: creating it in another storage must not change the stored revision.
func snapshotOfLoaded(e *env) {
	s := e.stored()
	loaded := e.load(s.ID())
	session.Stamp(loaded, loaded.Revision()+1000)
	got := e.load(s.ID())
	if got.Revision() != s.Revision() {
		e.Errorf("the stored revision followed a loaded session: it is %d, want %d", got.Revision(), s.Revision())
		return
	}
	e.store(got.With("k", "v"))
}

// snapshotOfEach: a caller that stores a loaded session in another storage changes no revision that other callers read.
// A cache may return one session to many callers, but not after it was stamped.
func snapshotOfEach(e *env) {
	s := e.stored()
	first, second := e.load(s.ID()), e.load(s.ID())
	session.Stamp(first, first.Revision()+1000)
	third := e.load(s.ID())
	if e.Staleness == 0 && second.Revision() != s.Revision() {
		e.Errorf("the revision of one Load's session followed another's: it is %d, want %d", second.Revision(), s.Revision())
	}
	if third.Revision() != s.Revision() {
		e.Errorf("Load returned a session with a foreign revision: it is %d, want %d", third.Revision(), s.Revision())
	}
	e.store(third.With("k", "v"))
}

// scribbler overwrites the bytes that it is decoded from.
type scribbler struct{}

func (scribbler) UnmarshalJSON(data []byte) error {
	scribble(data)
	return nil
}

func scribble(data []byte) {
	for i := range data {
		data[i] = '!'
	}
}

// immutable: writing to what the accessors return changes nothing that is stored, and a later Store changes no session
// that was loaded before.
func immutable(e *env) {
	data := []byte(`{"calls":1}`)
	s := e.fresh().WithData(data)
	e.store(s)
	want := s.Record()
	scribble(data)

	loaded := e.load(s.ID())
	scribble(loaded.Data())
	if err := loaded.Decode(new(scribbler)); err != nil {
		e.Errorf("Decode: %v", err)
	}
	record := loaded.Record()
	scribble(record.Data)
	clear(record.Metadata)
	loaded.With("backend_url", "http://elsewhere.example").Without("backend_url").WithData(nil).WithPrincipal("mallory")

	e.sameContent("loaded session after writing to what its accessors returned", loaded, session.FromRecord(want))
	e.sameContent("stored session after writing to a loaded one's data", e.load(s.ID()), session.FromRecord(want))

	revision := loaded.Revision()
	e.store(e.load(s.ID()).With("k", "v"))
	e.store(session.New(s.ID()))
	e.delete(s.ID())
	e.sameContent("loaded session after others were stored", loaded, session.FromRecord(want))
	if loaded.Revision() != revision {
		e.Errorf("the revision of a loaded session became %d when others were stored, want %d", loaded.Revision(), revision)
	}
}
