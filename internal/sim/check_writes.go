package sim

// write compares what a write returned with what it did in the remote, and notes what the replica knows from now on.
func (c *checker) write(op *Op) {
	at := memoryOf(op)
	switch op.Outcome {
	case Closed:
		if op.AfterClose {
			return
		}
	case Unavailable, GivenUp:
	default:
		if op.Answer != op.Outcome {
			c.violatedf("P8", op, "the remote answered: %q", op.Answer)
			return
		}
	}
	if op.Outcome == OK {
		c.acknowledged(op)
		c.horizons[at] = max(c.horizons[at], op.Committed)
		return
	}
	// The outcome is unknown, or another writer was faster: nothing older may be served from here on.
	c.horizons[at] = max(c.horizons[at], op.Returned)
}

// swept notes that a replica must have known, when its DeleteExpired or Revoke returned, what that had removed by then.
func (c *checker) swept(op *Op) {
	if op.Committed == 0 || op.Committed > op.Returned {
		return
	}
	for i := range c.history.Config.IDs {
		for _, s := range c.history.truth.spans(nameOf(i)) {
			if s.end == removed && s.to == op.Committed {
				at := memory{place{op.Replica, nameOf(i)}, op.Life}
				c.horizons[at] = max(c.horizons[at], op.Committed)
			}
		}
	}
}

// acknowledged checks a write that succeeded.
func (c *checker) acknowledged(op *Op) {
	switch op.Kind {
	case Store:
		if op.Base != 0 && op.Prior != op.Base {
			c.violatedf("P4", op, "it was stored over revision %d", op.Prior)
		}
		fallthrough
	case Create:
		if op.Revision != op.Assigned {
			c.violatedf("P4", op, "the session has revision %d", op.Revision)
		}
	case Take:
		if op.Revision != op.Prior {
			c.violatedf("P4", op, "what was taken is revision %d", op.Prior)
		}
	}
}
