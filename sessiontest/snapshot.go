package sessiontest

import "github.com/seed34611480/session"

var snapshotCases = []testCase{
	{"SnapshotOfStored", snapshotOfStored},
	{"SnapshotOfLoaded", snapshotOfLoaded},
	{"Immutable", immutable},
}

// snapshotOfStored: the storage keeps its own snapshot, not the caller's session. That one is stamped again when the
// caller stores it in another storage.
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

// snapshotOfLoaded: what was loaded does not lead back into the storage either. To create it in another storage stamps
// it with that one's revision.
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

// scribbler is a value that ruins the bytes that it is decoded from.
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

// immutable: nothing that a caller does to what the accessors hand out changes what is stored, and nothing that is
// stored later changes a session that somebody has.
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

	e.sameContent("loaded session after writing to what it handed out", loaded, session.FromRecord(want))
	e.sameContent("stored session after writing to what a loaded one handed out", e.load(s.ID()), session.FromRecord(want))

	revision := loaded.Revision()
	e.store(e.load(s.ID()).With("k", "v"))
	e.store(session.New(s.ID()))
	e.delete(s.ID())
	e.sameContent("loaded session after others were stored", loaded, session.FromRecord(want))
	if loaded.Revision() != revision {
		e.Errorf("the revision of a loaded session became %d when others were stored, want %d", loaded.Revision(), revision)
	}
}
