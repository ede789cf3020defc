/*
 * cluster.pml: the fence on a Cluster. One holder has a copy of one session, from before it is changed. There are two
 * masters. Master 0 has the session, and with E_LEAVES or E_JOINS loses it to master 1. README.md says how to run it.
 *
 * There is one registry. In a round, the holder notes the time, registers, waits for the reply, and only then sends its
 * heartbeats to all masters. What they prove together is the time of the round.
 */

#ifndef S
#define S 2		/* MaxStaleness, in ticks */
#endif
#ifndef END
#define END 6		/* time begins at S, and ends here */
#endif
#ifndef ROUNDS
#define ROUNDS 2	/* of heartbeats, and of questions for the masters */
#endif

/* PROPERTY is the promise that is checked: 2 or 10, as in docs/guarantees.md. */
#ifndef PROPERTY
#error PROPERTY is not set
#endif

#if defined(E_LEAVES) || defined(E_JOINS)
#define MOVES		/* the session moves to master 1 */
#endif
#ifdef E_JOINS
#define FIRST 1		/* master 1 is new: at first only master 0 has slots */
#else
#define FIRST 3
#endif
#ifdef E_LEAVES
#define LAST 2		/* master 0 has no slots any more */
#else
#define LAST 3
#endif

#define mask(m) (1 << (m))
#define TOPOLOGY 2

mtype = { Changed, Beat, Marker };

byte now = S;
byte home;			/* the master that has the session */
byte slots = FIRST;		/* the masters that have slots, as a set */
chan link[2] = [6] of { mtype, byte };
byte note;			/* the registry: the holder's own count of rounds, 0 if it is not listed */
byte proven[3];			/* by link, and for the topology; 0 for nothing */
bool copy = true;
bool ended;			/* the holder's watch, because the masters have changed */
bool acknowledged, fenced;
byte acknowledgedAt;
byte answered;			/* the masters for which the holder has answered, as a set */
byte view = FIRST;		/* the masters over which the requester's epoch began */
byte viewSince;			/* when it began; 0: long ago */

/* The holder subscribes to the masters that it has found at first. Its lease counts from the oldest proof. */
#define watched FIRST
#define watches(m) (watched & mask(m))
#define least(a, b) ((a) < (b) -> (a) : (b))
#define most(a, b) ((a) < (b) -> (b) : (a))
#ifdef M_NEWEST_PROOF
#define links most(proven[0], proven[1])
#elif FIRST == 3
#define links least(proven[0], proven[1])
#else
#define links proven[0]
#endif
#if defined(E_JOINS) && !defined(M_TOPOLOGY_UNCONFIRMED)
#define oldest least(links, proven[TOPOLOGY])
#else
#define oldest links
#endif
#define leased (!ended && oldest > 0 && now < oldest + S)

hidden byte k;

proctype Clock() {
	do
	:: d_step { now < END ->
		now++;
		for (k : 0 .. 2) {
			if
			:: proven[k] && proven[k] + S <= now -> proven[k] = 0	/* it proves nothing any more */
			:: else
			fi
		}
		k = 0;
		if
		:: viewSince && viewSince + S <= now -> viewSince = 0
		:: else
		fi
	   }
	od
}

proctype Link(byte m) {
	byte x;
	do
	:: d_step { link[m]?Changed(_) -> copy = false }
	:: d_step { link[m]?Beat(x) ->
		if
		:: x > proven[m] && x + S > now -> proven[m] = x
		:: else
		fi;
		x = 0
	   }
	:: d_step { link[m]?Marker(x) ->	/* x is the master that has published it */
#ifdef M_ANY_LINK
		answered = answered | mask(x);
#else
		if
		:: x == m -> answered = answered | mask(x)
		:: else
		fi;
#endif
		x = 0
	   }
	od
}

/* A master without slots refuses the heartbeat. */
inline beat(m) {
	if
	:: watches(m) && (slots & mask(m)) -> link[m]!Beat(n)
	:: else
	fi
}

proctype Rounds() {
	byte n, number;
	do
	:: number < ROUNDS ->
		d_step { number++; n = now }
#ifdef M_REGISTRATION_NOT_AWAITED
		d_step { beat(0) }
		d_step { note = number; beat(1); n = 0 }
#else
		note = number;
#ifdef M_NOTED_AFTER_REGISTRATION
		n = now;
#endif
		d_step { beat(0) }
		d_step { beat(1); n = 0 }
#endif
	od
}

#ifdef E_JOINS
/* The holder asks which masters there are. Where a master only leaves, its fence needs no such proof. */
proctype Topology() {
	byte asked, number; bool same;
	do
	:: number < ROUNDS ->
		d_step { number++; asked = now }
		same = (slots == watched);
		d_step {
			if
			:: !same -> ended = true
			:: same && asked > proven[TOPOLOGY] && asked + S > now -> proven[TOPOLOGY] = asked
			:: else
			fi;
			asked = 0; same = false
		}
	od
}

#endif

#ifdef MOVES
proctype Move() { d_step { home = 1; slots = LAST } }

/* The requester notices that the masters have changed, and subscribes to the new ones. */
proctype View() { d_step { view != slots -> view = slots; viewSince = now } }
#endif

proctype Client() {
	d_step {
		if
		:: watches(home) -> link[home]!Changed(0)
		:: else
		fi
	}
	d_step {
		acknowledged = true;
#if PROPERTY == 2
		acknowledgedAt = now
#endif
	}
}

/* A Cluster passes ordinary messages on to all its nodes, and so to all subscriptions, in no order with others. */
inline mark(m) {
	if
	:: (view & mask(m)) && (slots & mask(m)) ->
		if
		:: watches(m) -> link[m]!Marker(m); delivered = delivered | mask(m)
		:: else
		fi;
		if
		:: watches(1 - m) -> link[1 - m]!Marker(m)
		:: else
		fi
	:: else
	fi
}

#ifdef M_ANY_ANSWER
#define allHaveAnswered (!holder || (view & delivered & answered))
#else
#define allHaveAnswered (!holder || (view & ~(delivered & answered)) == 0)
#endif
#if defined(M_MASTERS_NOT_ASKED)
#define sameMasters true
#else
#define sameMasters (shown == view)
#endif
#ifdef M_YOUNG_VIEW
#define oldEnough true
#else
#define oldEnough (!viewSince || now >= viewSince + S)
#endif

proctype Fence() {
	bool acked, holder; byte called, shown, delivered;
#ifdef M_ASKED_BEFORE_CALL
	shown = slots;
#endif
	d_step { acked = acknowledged; called = now }
#ifndef M_ASKED_BEFORE_CALL
	shown = slots;
#endif
#ifndef M_ANOTHER_REGISTRY	/* the requester looks for it under another key than holders do */
	holder = (note != 0);
#endif
	d_step { mark(0) }
	d_step { mark(1) }
	if
	:: now >= called + S
	:: allHaveAnswered && sameMasters && oldEnough
	fi;
#ifdef REACH
	/* That a fence returns early, with a holder, and where it is modelled after a move, is to be found. */
	assert(now >= called + S || !holder || slots != LAST);
#endif
	d_step { fenced = acked; acked = false; holder = false; called = 0; shown = 0; delivered = 0 }
}

#ifdef E_FORGET
proctype Forgetter() {
	byte seen, at;
	seen = note;
	at = now;
	now >= at + S;
	d_step {
		if
		:: note == seen -> note = 0
		:: else
		fi;
		seen = 0; at = 0
	}
}
#endif

/* A load that may not be served the copy. */
proctype Loader() {
	do
#if PROPERTY == 10
	:: atomic { fenced && leased -> assert(!copy) }
#elif PROPERTY == 2
	:: atomic { acknowledged && now >= acknowledgedAt + S && leased -> assert(!copy) }
#endif
	od
}

init {
	atomic {
		run Clock(); run Link(0); run Link(1); run Rounds();
#ifdef E_JOINS
		run Topology();
#endif
#ifdef MOVES
		run Move();
#if PROPERTY == 10
		run View();
#endif
#endif
		run Client(); run Loader();
#if PROPERTY == 10
		run Fence();
#endif
#ifdef E_FORGET
		run Forgetter();
#endif
	}
}
