/*
 * fence.pml: local copies of one session that are served under a lease, and a fence that waits for the holders of
 * leases. README.md says what is modelled, and how to run it.
 *
 * There are two replicas, one session, and one Redis master; after a failover, another one. Replica 0 calls the fence.
 * Any process may wait at any of its steps for any number of ticks: that is a slow message, a slow reply, or a replica
 * that is paused. Commands of Redis and its scripts are single steps.
 *
 * A name that begins with M_ is a mutation: it breaks one rule, and its check must find that. A name that begins with
 * E_ lets the environment do more.
 */

#ifndef S
#define S 2		/* MaxStaleness, in ticks */
#endif
#ifndef END
#define END 6		/* time begins at S, and ends here */
#endif
#ifndef CHANGES
#define CHANGES 1	/* writes, of all writers together */
#endif
#ifndef BEATS
#define BEATS 1		/* heartbeats of replica 1; 0: there is no such replica */
#endif
#ifndef GAPS
#define GAPS 0		/* new subscriptions of replica 1 */
#endif
#ifndef BEATS0
#define BEATS0 0	/* the same for replica 0; none of either: it only calls the fence, and has no subscription */
#endif
#ifndef GAPS0
#define GAPS0 0
#endif
#ifndef FENCES
#define FENCES 1	/* fences that may run at the same time, all called on replica 0 */
#endif
#ifndef LOADS
#define LOADS 2		/* which replica has copies: 1 replica 0, 2 replica 1, 3 both */
#endif
#ifndef WRITERS
#define WRITERS 4	/* who writes: 1 replica 0, 2 replica 1, 4 another client; or a sum of these */
#endif
#ifndef DRIFT
#define DRIFT 0		/* how much longer the lease of a holder lasts, whose clock is slow */
#endif

/* PROPERTY is the promise that is checked: 2, 3, 7, 9 or 10, as in docs/guarantees.md. */
#ifndef PROPERTY
#error PROPERTY is not set
#endif

#if defined(M_AGE) || (WRITERS != 4 && WRITERS != 0)
#define TIMED		/* the times of entries and calls matter; otherwise they are left out, to have fewer states */
#endif
#if defined(M_LEASE_READ_LAST) || defined(E_SPLIT)
#define SPLIT		/* a load reads the lease and the clock in one step, and finds the entry in another */
#endif
#if BEATS0 > 0 || GAPS0 > 0
#define REQUESTER	/* replica 0 has a subscription */
#endif

#define N 2
#define LINK 8		/* more than ever wait on a link: see init */
#define CALLS 2		/* of a replica: a flight, and a write */
#define FLIGHT 0
#define WRITE 1

#define LEASE (S + DRIFT)

/* The margin for the rates of clocks is added to each S that the requester waits for. */
#ifdef M_CALL_NO_MARGIN
#define WAIT_CALL S
#else
#define WAIT_CALL (S + DRIFT)
#endif
#ifdef M_EPOCH_NO_MARGIN
#define WAIT_EPOCH S
#else
#define WAIT_EPOCH (S + DRIFT)
#endif
#ifdef M_IDENTITY_NO_MARGIN
#define WAIT_IDENTITY S
#else
#define WAIT_IDENTITY (S + DRIFT)
#endif
#ifdef M_LOOKS_NO_MARGIN
#define WAIT_LOOKS S
#else
#define WAIT_LOOKS (S + DRIFT)
#endif

mtype = { Changed, Removed, Beat, Marker, Subscribed };

byte now = S;

/* ---- Redis ---- */

byte version = 1;		/* of the session: a revision, but deletes count too */
bool present = true;
byte master = 1;		/* the server that takes writes: 2 after a failover */
#ifdef E_FAILBACK
byte history = 1;		/* the replication id of server 1: another one after each promotion */
byte knownHistory[N] = 1;	/* as the first heartbeat of a replica's subscription was told; 0: none was */
#endif
byte subscribed[N] = 1;		/* the server with a replica's subscription, 0 for none: the replica may not know */
byte note[N];			/* the registry: a holder's own count of heartbeats, 0 if it is not listed */
byte identity = 1;		/* of the registry */
chan link[N] = [LINK] of { mtype, byte };
byte writes;

/* ---- what was promised ---- */

byte acknowledged = 1;		/* the latest version that was acknowledged */
byte acknowledgedAt[CHANGES + 2];
byte fenced = 1;		/* the latest version that a fence has returned for */
byte own[N] = 1;		/* the latest version that was acknowledged to a caller on this replica */

/* ---- replicas ---- */

byte epoch[N] = 1;
byte until[N];			/* the end of the lease; 0: there is none */
bool begun[N] = true;		/* the present subscription has an epoch */
byte began;			/* when the epoch of replica 0 began; 0: long ago */
byte knows = 1;			/* the identity of the registry that replica 0 was told */
byte knowsSince;		/* 0: for long */
#ifdef E_REPLY
byte arrived[N];		/* the heartbeat that has arrived, but has no reply yet */
byte replied[N];		/* how many have a reply, but have not arrived yet */
#endif
#ifdef E_CLOSE
bool closed, stopping, beating, gone;	/* of replica 1 */
#define serves(i) (i == 0 || !closed)
#define beats(i) (i == 0 || !stopping)
#else
#define serves(i) true
#define beats(i) true
#endif

typedef Entry { bool there; byte version; byte epoch; byte at };
Entry entry[N];

typedef Call {
	byte state;		/* 0 none, 1 sent, 2 answered, 3 landed, and a load waits for it */
	byte version; bool present;
	byte epoch; byte at;	/* read before the remote is called */
	bool revoked; byte newer	/* what became known since */
};
Call call[N * CALLS];
bool listed[N];			/* the flight may be joined */
bool waits[N];			/* the loader waits for the flight */

byte answered[FENCES + 1];	/* by fence: the replicas that have answered, as a set */

hidden byte k;

#define C(i, j) call[(i) * CALLS + (j)]
#define mask(i) (1 << (i))
#define caches(i) ((LOADS >> (i)) & 1)
#define covers(i, e) ((e) == epoch[i] && now < until[i])

/* A replica without copies, whose epoch is never in question, makes no use of its heartbeats' arrival. */
#if GAPS0 > 0
#define needsBeats(i) true
#else
#define needsBeats(i) caches(i)
#endif

/* The serving rule. */
#ifdef M_AGE
#define servable(i) (serves(i) && entry[i].there && (covers(i, entry[i].epoch) || now < entry[i].at + S))
#else
#define servable(i) (serves(i) && entry[i].there && covers(i, entry[i].epoch))
#endif

/* The rule by which a load joins a flight that was sent. */
#ifdef M_JOIN_ANY_EPOCH
#define joinable(i) (listed[i] && now < until[i])
#else
#ifdef M_JOIN_NO_LEASE
#define joinable(i) (listed[i] && C(i, FLIGHT).epoch == epoch[i])
#else
#define joinable(i) (listed[i] && covers(i, C(i, FLIGHT).epoch))
#endif
#endif

inline drop(i) {
	entry[i].there = false; entry[i].version = 0; entry[i].epoch = 0; entry[i].at = 0
}

inline changed(i, v) {
	if
	:: entry[i].there && entry[i].version < v -> drop(i)
	:: else
	fi;
#ifndef M_CALLS_NOT_TOLD
	for (k : 0 .. CALLS - 1) {
		if
		:: C(i, k).state && C(i, k).newer < v -> C(i, k).newer = v
		:: else
		fi
	}
	k = 0;
#endif
	listed[i] = false
}

inline removed(i) {
	drop(i);
#ifndef M_CALLS_NOT_TOLD
	for (k : 0 .. CALLS - 1) {
		if
		:: C(i, k).state -> C(i, k).revoked = true
		:: else
		fi
	}
	k = 0;
#endif
	listed[i] = false
}

inline begin(i, j) {
	C(i, j).state = 1; C(i, j).epoch = epoch[i];
#ifdef TIMED
	C(i, j).at = now
#endif
}

inline finish(i, j) {
	C(i, j).state = 0; C(i, j).version = 0; C(i, j).present = false; C(i, j).epoch = 0; C(i, j).at = 0;
	C(i, j).revoked = false; C(i, j).newer = 0
}

/* What a call brought becomes an entry, unless something forbids it, or a later call has brought the same or newer. */
inline put(i, j) {
	if
	:: C(i, j).revoked || C(i, j).version < C(i, j).newer
	:: else ->
		if
		:: entry[i].there && entry[i].at > C(i, j).at && entry[i].version >= C(i, j).version
		:: else ->
			entry[i].there = true; entry[i].version = C(i, j).version; entry[i].at = C(i, j).at;
#ifdef M_EPOCH_AFTER_CALL
			entry[i].epoch = epoch[i]
#else
			entry[i].epoch = C(i, j).epoch
#endif
		fi
	fi
}

/* The next epoch begins, without a lease. Where times are left out, an entry of an earlier epoch is as good as none. */
inline nextEpoch(i) {
	epoch[i]++; until[i] = 0;
#ifndef TIMED
	drop(i);
#endif
	if
	:: i == 0 -> began = now
	:: else
	fi
}

/* A confirmed subscription ends the epoch, and the lease with it. */
inline confirmed(i) {
#ifndef M_NO_GAP
#ifndef M_SUBSCRIPTION_KEEPS_LEASE
	nextEpoch(i);
#endif
#ifndef M_EPOCH_AT_SUBSCRIPTION
	begun[i] = false;
#endif
#endif
#if defined(E_REPLY) && !defined(M_PENDING_KEPT)
	arrived[i] = 0; replied[i] = 0;
#endif
	skip
}

/*
 * The heartbeat that was noted at n has arrived, and the server that took it has delivered it. The first one of a
 * subscription begins the epoch.
 */
inline proven(i, n) {
	if
	:: !begun[i] ->
#ifndef M_EPOCH_AT_SENDING
		nextEpoch(i);
#endif
		begun[i] = true
	:: else
	fi;
#ifdef M_LEASE_FROM_ARRIVAL
	n = now;
#endif
	if
	:: caches(i) && n + LEASE > until[i] && n + LEASE > now -> until[i] = n + LEASE
	:: else
	fi
}

/* A server delivers to its own subscribers. What it passes on to the subscribers of its replicas may be lost. */
#define here(i) (subscribed[i] == master)
#define behind(i) (subscribed[i] && subscribed[i] < master)
#define hears(i, m) (caches(i) || m == Marker)
inline publish(m, x) {
	for (k : 0 .. N - 1) {
		if
		:: here(k) && hears(k, m) -> link[k]!m(x)
#ifdef E_FORWARD
		:: behind(k) && hears(k, m) -> link[k]!m(x)
		:: behind(k)
		:: !(here(k) && hears(k, m)) && !behind(k)
#else
		:: else
#endif
		fi
	}
	k = 0
}

/* ---- processes ---- */

/* What lies so far back that it makes no difference any more is forgotten, to have fewer states. */
proctype Clock() {
	do
	:: d_step { now < END ->
		now++;
		for (k : 0 .. N - 1) {
			if
			:: until[k] <= now -> until[k] = 0
			:: else
			fi
		}
		if
		:: began && began + S + DRIFT <= now -> began = 0
		:: else
		fi;
		if
		:: knowsSince && knowsSince + S + DRIFT <= now -> knowsSince = 0
		:: else
		fi;
#if PROPERTY == 2
		for (k : 2 .. CHANGES + 1) {
			if
			:: acknowledgedAt[k] && acknowledgedAt[k] + S <= now -> acknowledgedAt[k] = 1
			:: else
			fi
		}
#endif
		k = 0
	   }
	od
}

inline subscribe(i, server) {
	do
	:: link[i]?_, _
	:: empty(link[i]) -> break
	od;
	subscribed[i] = server;
#ifdef E_FAILBACK
	knownHistory[i] = 0;
#endif
	link[i]!Subscribed(0);
#ifdef M_NAME_REMOVED_EARLY
	note[i] = 0;	/* before the lease of the former subscription was ended */
#endif
	skip
}

/* A subscription may be lost without a notice. A replica may give up its subscription, and make a new one. */
proctype Network(byte i; byte limit) {
	byte gaps; bool marker;
	do
	:: d_step { gaps < limit && subscribed[i] ->
		subscribed[i] = 0;
#ifdef M_ENDED_WATCH_FORGOTTEN
		note[i] = 0;	/* in memory: the watches are the list of holders, without those that ended */
#endif
		skip
	   }
	:: d_step { gaps < limit -> gaps++; subscribe(i, master) }
#ifdef E_EARLY
	/* A client follows a server that is about to become the master. */
	:: d_step { gaps < limit && master == 1 -> gaps++; subscribe(i, 2) }
#endif
#ifdef E_OVERFLOW
	/* In memory: a backlog that is too long is lost. A Gap takes its place, and its marker stays behind that. */
	:: d_step { gaps < limit && here(i) && nempty(link[i]) ->
		gaps++;
		do
		:: link[i]?Marker(_) -> marker = true
		:: link[i]?Changed(_)
		:: link[i]?Removed(_)
		:: link[i]?Beat(_)
		:: link[i]?Subscribed(_)
		:: empty(link[i]) -> break
		od;
#ifdef M_MARKER_BEFORE_GAP
		if
		:: marker -> link[i]!Marker(0)
		:: else
		fi;
		link[i]!Subscribed(0);
#else
		link[i]!Subscribed(0);
		if
		:: marker -> link[i]!Marker(0)
		:: else
		fi;
#endif
		marker = false
	   }
#endif
	od
}

/* What arrives on the subscription is applied in order. A marker is answered when all before it was applied. */
proctype Link(byte i) {
	byte x;
#ifdef M_ANSWER_BEFORE_APPLYING
	byte held; mtype kind;
#define idle !held
#else
#define idle true
#endif
	do
#ifdef M_ANSWER_BEFORE_APPLYING
	:: d_step { !held && link[i]?[Changed, _] -> link[i]?Changed(held); kind = Changed }
	:: d_step { !held && link[i]?[Removed, _] -> link[i]?Removed(_); held = 1; kind = Removed }
	:: d_step { held ->
		if
		:: kind == Changed -> changed(i, held)
		:: else -> removed(i)
		fi;
		held = 0; kind = 0
	   }
	:: d_step { held && link[i]?[Marker, _] -> link[i]?Marker(x); answered[x] = answered[x] | mask(i); x = 0 }
#else
	:: d_step { link[i]?[Changed, _] -> link[i]?Changed(x); changed(i, x); x = 0 }
	:: d_step { link[i]?[Removed, _] -> link[i]?Removed(x); removed(i); x = 0 }
#endif
	:: d_step { idle && link[i]?[Beat, _] ->
		link[i]?Beat(x);
#ifdef E_REPLY
		if
		:: replied[i] -> replied[i]--; proven(i, x)
		:: else -> arrived[i] = x
		fi;
#else
		proven(i, x);
#endif
		x = 0
	   }
	:: d_step { idle && link[i]?[Marker, _] -> link[i]?Marker(x); answered[x] = answered[x] | mask(i); x = 0 }
	:: d_step { idle && link[i]?[Subscribed, _] -> link[i]?Subscribed(_); confirmed(i) }
	od
}

/*
 * A heartbeat is a script that notes its sender in the registry, and publishes to the sender's own channel. It proves
 * something only if the server has delivered it itself. One that arrives without that is left out, as it does nothing.
 */
proctype Heart(byte i; byte limit) {
	byte n, number, told; bool delivered;
	do
	:: d_step { number < limit && beats(i) ->
		number++; n = now;
#ifdef E_CLOSE
		if
		:: i == 1 -> beating = true
		:: else
		fi;
#endif
#ifdef M_EPOCH_AT_SENDING
		if
		:: !begun[i] -> nextEpoch(i)
		:: else
		fi;
#endif
		skip
	   }
	   d_step {
#ifdef M_COUNT_REPEATS
		note[i] = 1;
#else
		note[i] = number;
#endif
#if PROPERTY == 7
		assert(!gone || i == 0);	/* a holder that has left is not listed again */
#endif
		if
		:: here(i) -> delivered = true
#if defined(M_BEAT_THROUGH_REPLICA) || defined(M_BEAT_IS_NO_WRITE)
		:: behind(i) -> delivered = true
#endif
#ifdef M_NAME_REUSED
		/* The master still counts the former subscription, and passes the heartbeat on to the present one. */
		:: subscribed[i] > master -> delivered = true
#endif
		:: else
		fi;
#if defined(E_FAILBACK) && !defined(M_HISTORY_IGNORED)
		/* With another history the watch ends. It has to subscribe anew. */
		if
		:: delivered && !knownHistory[i] -> knownHistory[i] = history
		:: delivered && knownHistory[i] && knownHistory[i] != history -> delivered = false; subscribed[i] = 0
		:: else
		fi;
#endif
		if
		:: delivered && needsBeats(i) -> link[i]!Beat(n)
		:: else
		fi;
#ifdef E_CLOSE
		if
		:: i == 1 -> beating = false
		:: else
		fi;
#endif
#ifdef E_FLUSH
		if
		:: i == 0 -> told = identity
		:: else
		fi;
#endif
#ifndef M_IDENTITY_FROM_SENDING
		n = 0;
#endif
#ifndef E_REPLY
		delivered = false
#endif
	   }
#ifdef E_REPLY
	   d_step {	/* the reply */
		if
		:: delivered && arrived[i] -> n = arrived[i]; arrived[i] = 0; proven(i, n); n = 0
		:: delivered && !arrived[i] -> replied[i]++
		:: else
		fi;
		delivered = false
	   }
#endif
#ifdef E_FLUSH
	   d_step {	/* the reply */
		if
		:: i == 0 && told != knows ->
			knows = told;
#ifdef M_IDENTITY_FROM_SENDING
			knowsSince = n
#else
			knowsSince = now
#endif
		:: else
		fi;
		told = 0; n = 0
	   }
#endif
	od
}

/* The loads that are sent to the remote, also those that no caller waits for: refreshes. */
proctype Flight(byte i) {
	do
	:: d_step { !C(i, FLIGHT).state && now < END -> begin(i, FLIGHT); listed[i] = true }
	:: d_step { C(i, FLIGHT).state == 1 ->
		C(i, FLIGHT).version = version; C(i, FLIGHT).present = present; C(i, FLIGHT).state = 2
	   }
	:: d_step { C(i, FLIGHT).state == 2 ->
		if
		:: C(i, FLIGHT).present -> put(i, FLIGHT)
		:: else ->
			if
			:: !C(i, FLIGHT).revoked -> drop(i)
			:: else
			fi
		fi;
		listed[i] = false;
		if
		:: waits[i] -> C(i, FLIGHT).state = 3
		:: else -> finish(i, FLIGHT)
		fi
	   }
	od
}

/* What a load that begins now has to see, and whether a version that it returns is not that. */
#if PROPERTY == 2
#define changedForS(v) (acknowledgedAt[v] && acknowledgedAt[v] + S <= now)
#if CHANGES == 1
#define needs(i) (changedForS(2) -> 2 : 1)
#elif CHANGES == 2
#define needs(i) (changedForS(3) -> 3 : (changedForS(2) -> 2 : 1))
#else
#error CHANGES is 1 or 2
#endif
#elif PROPERTY == 3
#define needs(i) own[i]
#elif PROPERTY == 10
#define needs(i) fenced
#else
#define needs(i) 0
#endif
#if PROPERTY == 9
#define wrong(v, need) ((v) > version)	/* nothing is local that the remote has not got */
#define matters(i) true
#elif PROPERTY == 7
#define wrong(v, need) false
#define matters(i) false
#else
#define wrong(v, need) ((v) < (need))
#define matters(i) (needs(i) > 1)	/* a load that may return anything is not followed */
#endif

/*
 * Loads on a replica. A hit is a single step, and changes nothing. With SPLIT it takes two steps. A load that sends a
 * flight of its own sees what it has to, by A1, and is left out.
 */
proctype Loader(byte i) {
	byte need;
#ifdef SPLIT
	byte hitNeed, hitEpoch, hitUntil, at, got;
#endif
	do
#ifndef SPLIT
	:: atomic { matters(i) && servable(i) && wrong(entry[i].version, needs(i)) ->
		assert(!wrong(entry[i].version, needs(i)))
	   }
#elif defined(M_LEASE_READ_LAST)
	:: d_step { matters(i) && entry[i].there ->
		hitNeed = needs(i); got = entry[i].version; hitEpoch = entry[i].epoch
	   }
	   d_step {
		assert(!covers(i, hitEpoch) || got >= hitNeed);
		hitNeed = 0; got = 0; hitEpoch = 0
	   }
#else
	:: d_step { matters(i) -> hitNeed = needs(i); hitEpoch = epoch[i]; hitUntil = until[i]; at = now }
	   d_step {
		assert(!entry[i].there || entry[i].epoch != hitEpoch || at >= hitUntil || entry[i].version >= hitNeed);
		hitNeed = 0; hitEpoch = 0; hitUntil = 0; at = 0
	   }
#endif
	:: d_step { matters(i) && !waits[i] && !servable(i) && joinable(i) -> need = needs(i); waits[i] = true }
	:: d_step { waits[i] && C(i, FLIGHT).state == 3 ->
		assert(!wrong(C(i, FLIGHT).version, need));
		finish(i, FLIGHT);
		waits[i] = false; need = 0
	   }
	od
}

inline acknowledge(v) {
	if
	:: v > acknowledged -> acknowledged = v
	:: else
	fi;
#if PROPERTY == 2
	acknowledgedAt[v] = now
#endif
}

/* A Store or Delete through a replica. */
proctype Writer(byte i) {
	byte v; bool store;
	do
	:: atomic { writes < CHANGES ->
		writes++;
		if
		:: store = true
		:: store = false
		fi;
		d_step {
			begin(i, WRITE);
			if
			:: !store -> removed(i)
			:: else
			fi;
#ifdef M_LOCAL_FIRST
			if
			:: store -> C(i, WRITE).version = version + 1; put(i, WRITE)
			:: else
			fi
#endif
		}
	   }
	   atomic {
		version++; present = store; v = version;
		if
		:: store -> publish(Changed, v)
		:: else -> publish(Removed, 0)
		fi
	   }
	   d_step {
		C(i, WRITE).version = v; C(i, WRITE).state = 0;
#ifndef M_WRITE_DROPS_NOTHING
		if
		:: store -> changed(i, v)
		:: else -> removed(i)
		fi;
#endif
		if
		:: !store || (entry[i].there && entry[i].version > v)
		:: else -> put(i, WRITE)
		fi;
		finish(i, WRITE);
		acknowledge(v);
		if
		:: v > own[i] -> own[i] = v
		:: else
		fi;
		v = 0; store = false
	   }
	od
}

/* A Store or Delete of a client without a local tier. */
proctype Client() {
	byte v;
	do
	:: atomic { writes < CHANGES ->
		writes++; version++; v = version;
		if
		:: present = true; publish(Changed, v)
		:: present = false; publish(Removed, 0)
		fi
	   }
	   d_step { acknowledge(v); v = 0 }
	od
}

/* ---- the fence ---- */

#ifdef M_ANSWER_OF_ANY_FENCE
#define answers (answered[0] | answered[1])
#else
#define answers answered[f]
#endif

#ifdef M_ONE_ANSWER_IS_ENOUGH
#define allHaveAnswered (!holders || (holders & delivered & answers))
#else
#define allHaveAnswered ((holders & ~(delivered & answers)) == 0)
#endif

/*
 * The rules about the requester are for what happens to servers. While the master stays, a requester without a
 * subscription is modelled, which returns early more often: what holds without the rules holds with them.
 */
#define epochIsOld (begun[0] && (!began || now >= began + WAIT_EPOCH))
#if !defined(REQUESTER) || defined(M_YOUNG_AT_START)
#define oldEnough true
#elif defined(M_YOUNG)
#define oldEnough begun[0]
#else
#define oldEnough epochIsOld
#endif

#if !defined(E_FLUSH) || defined(M_NO_IDENTITY)
#define knownRegistry true
#elif defined(M_IDENTITY_YOUNG)
#define knownRegistry (told == knows)
#else
#define knownRegistry (told == knows && (!knowsSince || now >= knowsSince + WAIT_IDENTITY))
#endif

#if !defined(E_FAILBACK) || !defined(REQUESTER) || defined(M_MARKER_HISTORY_IGNORED)
#define sameHistory true
#else
#define sameHistory known
#endif

#ifdef M_SHORT
#define timeIsUp (now >= called + WAIT_CALL - 1)
#else
#define timeIsUp (now >= called + WAIT_CALL)
#endif

inline readHolders() {
	for (k : 0 .. N - 1) {
		if
		:: note[k] -> holders = holders | mask(k)
		:: else
		fi
	}
	k = 0
}

/* A fence that is called on replica 0. */
proctype Fence(byte f) {
	byte called, acked, holders, delivered, told;
#ifdef E_FAILBACK
	bool known;	/* whether the master has the history of the requester's epoch */
#endif
#ifdef M_HOLDERS_READ_BEFORE
	d_step { readHolders() }
#endif
#ifdef M_YOUNG_AT_START
	epochIsOld;
#endif
	d_step { acked = acknowledged; called = now }
	/* One script reads the holders, publishes the marker to the channel of each, and counts the receivers of each. */
	atomic {
		d_step {
#ifndef M_HOLDERS_READ_BEFORE
			readHolders();
#endif
#if defined(REQUESTER) && !defined(M_REQUESTER_UNLISTED)
			holders = holders | mask(0);
#endif
			told = identity;
#ifdef E_FAILBACK
			known = (knownHistory[0] == history);
#endif
			skip
		}
#ifdef M_COMMON_CHANNEL
		publish(Marker, f);
		delivered = holders;
#else
		d_step {
			for (k : 0 .. N - 1) {
				if
				:: (holders & mask(k)) && here(k) -> link[k]!Marker(f); delivered = delivered | mask(k)
#ifdef M_RECEIVERS_NOT_COUNTED
				:: (holders & mask(k)) && behind(k) -> link[k]!Marker(f); delivered = delivered | mask(k)
#endif
				:: else
				fi
			}
			k = 0
		}
#endif
	}
	if
	:: timeIsUp
	:: allHaveAnswered && oldEnough && knownRegistry && sameHistory
#ifdef M_SILENT_NOT_WAITED_FOR
	:: true
#endif
	fi;
#ifdef REACH
	/* That a fence returns early, with a holder, is to be found. Otherwise its checks would show nothing. */
#ifdef E_FAILOVER
	assert(timeIsUp || !(holders & mask(1)) || master == 1);
#elif defined(E_FLUSH)
	assert(timeIsUp || !(holders & mask(1)) || identity == 1);
#else
	assert(timeIsUp || !(holders & mask(1)));
#endif
#endif
	d_step {
		if
		:: acked > fenced -> fenced = acked
		:: else
		fi;
		acked = 0; holders = 0; delivered = 0; called = 0; told = 0
	}
}

#ifdef E_FORGET
/* Replica 0 looks at the registry twice, and forgets replica 1 if its count is the same. */
proctype Forgetter() {
	byte seen, at;
#ifdef M_LOOKS_FROM_SENDING
	at = now;
#endif
	seen = note[1];
#ifndef M_LOOKS_FROM_SENDING
	at = now;	/* the reply has arrived */
#endif
#ifndef M_ONE_LOOK
	now >= at + WAIT_LOOKS;
#endif
#ifdef M_FORGETS_IN_TWO_STEPS
	d_step {
		if
		:: note[1] != seen -> seen = 0
		:: else
		fi
	}
	d_step {
		if
		:: seen -> note[1] = 0
		:: else
		fi;
		seen = 0; at = 0
	}
#else
	d_step {
		if
		:: note[1] == seen -> note[1] = 0
		:: else
		fi;
		seen = 0; at = 0
	}
#endif
}
#endif

#ifdef E_CLOSE
/* Replica 1 is closed: it stops serving, stops its heartbeats and awaits the last one, and then leaves the registry. */
proctype Closer() {
#ifdef M_LEAVES_BEFORE_IT_STOPS
	stopping = true;
	!beating;
	d_step { note[1] = 0; gone = true }
	closed = true
#else
	d_step { closed = true; stopping = true }
#ifndef M_LEAVES_TOO_SOON
	!beating;
#endif
	d_step { note[1] = 0; gone = true }
#endif
}
#endif

#ifdef E_FAILOVER
/* Another server becomes the master. It has all acknowledged writes, but maybe not the last heartbeats. */
proctype Failover() {
	atomic {
		master = 2;
		if
		:: note[0] = 0
		:: true
		fi;
		if
		:: note[1] = 0
		:: true
		fi
	}
#ifdef E_FAILBACK
	d_step { master = 1; history++ }	/* the former one again, with a copy of all that was acknowledged */
#endif
}
#endif

#ifdef E_FLUSH
/* The registry is lost, and nothing else: it was evicted, or an operator has deleted it. */
proctype Flush() {
	d_step {
		note[0] = 0; note[1] = 0;
#ifndef M_IDENTITY_APART
		identity = 2
#endif
	}
}
#endif

init {
	atomic {
		assert(CHANGES + BEATS + BEATS0 + FENCES + 1 <= LINK);	/* so no link is ever full */
		run Clock();
#ifdef REQUESTER
		run Link(0);
#if BEATS0 > 0
		run Heart(0, BEATS0);
#endif
#if GAPS0 > 0
		run Network(0, GAPS0);
#endif
#else
		subscribed[0] = 0;
#endif
#if BEATS > 0
		run Heart(1, BEATS); run Link(1);
#if GAPS > 0
		run Network(1, GAPS);
#endif
#else
		subscribed[1] = 0;
#endif
#ifdef WARM
		/* The entries have been loaded before, and no loads are sent. */
		if
		:: caches(0) -> entry[0].there = true; entry[0].version = 1; entry[0].epoch = 1
		:: else
		fi;
		if
		:: caches(1) -> entry[1].there = true; entry[1].version = 1; entry[1].epoch = 1
		:: else
		fi;
#endif
#if LOADS == 1 || LOADS == 3
		run Loader(0);
#ifndef WARM
		run Flight(0);
#endif
#endif
#if LOADS == 2 || LOADS == 3
		run Loader(1);
#ifndef WARM
		run Flight(1);
#endif
#endif
#if WRITERS == 1 || WRITERS == 3 || WRITERS == 5 || WRITERS == 7
		run Writer(0);
#endif
#if WRITERS == 2 || WRITERS == 3 || WRITERS == 6 || WRITERS == 7
		run Writer(1);
#endif
#if WRITERS >= 4
		run Client();
#endif
#if FENCES > 0
		run Fence(0);
#endif
#if FENCES > 1
		run Fence(1);
#endif
#ifdef E_FORGET
		run Forgetter();
#endif
#ifdef E_CLOSE
		run Closer();
#endif
#ifdef E_FAILOVER
		run Failover();
#endif
#ifdef E_FLUSH
		run Flush();
#endif
	}
}
