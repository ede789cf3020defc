package sim

// write checks what a write has returned against what it did in the remote, and what the replica knows from now on.
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
			c.violatedf("P8", op, "the remote said: %q", op.Answer)
			return
		}
	}
	if op.Outcome == OK {
		c.acknowledged(op)
		c.horizons[at] = max(c.horizons[at], op.Committed)
		return
	}
	// It is unknown what became of it, or somebody else was faster: nothing from before may be served.
	c.horizons[at] = max(c.horizons[at], op.Returned)
}

// acknowledged checks a write that has succeeded.
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
