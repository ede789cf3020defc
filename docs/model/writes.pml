/*
 * writes.pml: a call that writes carries a token, and is repeated once when its reply is lost. README.md says how to
 * run it.
 *
 * There is one key. The call sends at most two attempts. Each is executed when it arrives, late, or never, in any
 * order. Other writers replace, delete and create meanwhile, also after the call has returned.
 *
 * A name that begins with M_ is a mutation: it breaks one rule, and its check must find that.
 */

#ifndef OTHERS
#define OTHERS 3		/* changes by other writers */
#endif

/* KIND is what the call does. */
#define STORE 1			/* Store with a revision, which is 1 */
#define PUT 2			/* Store without one */
#define CREATE 3
#define DELETE 4
#define TAKE 5
#ifndef KIND
#error KIND is not set
#endif

/* PROPERTY is what is checked: parts of P9, and DELETED for P4. */
#define ONCE 1			/* the call takes effect at most once */
#define SUCCESS 2		/* success is true: it took effect, and the revision that is told is that of the effect */
#define QUIET 3			/* it takes no effect after success was told */
#define REFUSAL 4		/* a refusal is true: no effect before a conflict or "exists", and none after any refusal */
#define SETTLED 5		/* without other writers, a repetition that has a reply tells what became of the call */
#define DELETED 6		/* P4: once its base was deleted, a Store takes no effect */
#define TOLD 8			/* no repetition is told of a conflict: it is to be found that one is */
#define UNDONE 7		/* no effect after others have changed what an earlier effect wrote: not promised */
#ifndef PROPERTY
#error PROPERTY is not set
#endif

/*
 * TIMEOUT: the first attempt may have timed out. Then it may arrive after the second one. Without it, the server has
 * closed the connection: the first attempt was executed, or never will be.
 */

mtype = { Lost, Stored, Conflict, Exists, Missing };
mtype = { Success, ErrConflict, ErrExists, ErrNotFound, ErrUnavailable };

byte revision = 1;		/* what is stored; 0 for nothing */
byte replaced;			/* the revision that it replaced, kept in its header; 0 for none */
bool mine;			/* it carries the token of the call */
byte last = 1;			/* the last revision that was given, also over deletes: A4 */

byte effects;			/* how often the call took effect */
byte given;			/* the revision of its latest effect */
bool deleted;			/* the base of the call was deleted by others */
bool othersSince;		/* others have changed something after the first effect */

mtype told;			/* to the caller; 0 while the call goes on */
mtype reply[2];			/* to each attempt */
byte itsRevision;		/* in the reply */
byte itsReplaced;		/* what the stored value had replaced, in the reply of a conflict */
bool sent[2], over[2];		/* an attempt is over when it was executed, or never will be */
bool asking;			/* the second attempt asks for the token, and writes nothing */

inline effect() {
	effects++;
#if PROPERTY == ONCE
	assert(effects <= 1);
#elif PROPERTY == QUIET
	assert(told != Success);
#elif PROPERTY == REFUSAL
	assert(told != ErrConflict && told != ErrExists && told != ErrNotFound);
#elif PROPERTY == DELETED
	assert(!deleted);
#elif PROPERTY == UNDONE
	assert(!othersSince);
#endif
	skip
}

inline give() {
#ifdef M_REVISION_STARTS_ANEW
	revision = (revision -> revision + 1 : 1)
#else
	last++; revision = last
#endif
}

inline write(a) {
	replaced = revision; give(); mine = true; given = revision; effect();
	a = Stored; itsRevision = revision
}

/* The script looks for the token first. */
#ifdef M_NO_TOKEN
#define finds false
#else
#define finds (KIND <= CREATE && mine && revision)
#endif

#ifdef M_REPEATED_WITHOUT_CONDITION
#define unconditional (n == 1)
#else
#define unconditional false
#endif

inline execute(a) {
	if
	:: finds -> a = Stored; itsRevision = revision
	:: !finds && n == 1 && asking -> a = Missing
	:: !finds && !(n == 1 && asking) ->
		if
		:: KIND == STORE && (revision == 1 || unconditional) -> write(a)
		:: KIND == STORE && revision == 0 && !unconditional -> a = Missing
		:: KIND == STORE && revision > 1 && !unconditional -> a = Conflict; itsReplaced = replaced
		:: KIND == PUT -> write(a)
		:: KIND == CREATE && revision == 0 -> write(a)
		:: KIND == CREATE && revision != 0 -> a = Exists
		:: KIND == DELETE && revision == 0 -> a = Stored
		:: KIND == TAKE && revision == 0 -> a = Missing
		:: KIND >= DELETE && revision != 0 -> revision = 0; replaced = 0; mine = false; effect(); a = Stored
		fi
	fi
}

proctype Attempt(byte n) {
	atomic {
		sent[n] ->
		if
		:: execute(reply[n]); over[n] = true
#if PROPERTY == SETTLED
		:: n == 0 -> over[n] = true; reply[n] = Lost
#else
		:: over[n] = true; reply[n] = Lost	/* it never arrives */
#endif
		fi
	}
}

proctype Others() {
	byte n;
	do
	:: atomic { n < OTHERS ->
		n++;
		if
		:: revision -> replaced = revision; give(); mine = false
		:: revision -> revision = 0; replaced = 0; mine = false; deleted = true
		:: !revision -> give(); mine = false
		fi;
		if
		:: effects -> othersSince = true
		:: else
		fi
	   }
	:: n == OTHERS -> break
	od
}

inline tell(x) {
	told = x;
#if PROPERTY == SUCCESS
	assert(x != Success || KIND == DELETE || (effects && (KIND == TAKE || itsRevision == given)));
#elif PROPERTY == REFUSAL
	assert(effects == 0 || (x != ErrConflict && x != ErrExists && (x != ErrNotFound || KIND != TAKE)));
#elif PROPERTY == SETTLED
	assert(x != ErrUnavailable);
#elif PROPERTY == TOLD
	assert(x != ErrConflict || !sent[1]);
#endif
	skip
}

proctype Caller() {
	bool timedOut;
	sent[0] = true;
	if
	:: atomic { over[0] && reply[0] != Lost ->	/* it has a reply */
		if
		:: reply[0] == Stored -> tell(Success)
		:: reply[0] == Conflict -> tell(ErrConflict)
		:: reply[0] == Exists -> tell(ErrExists)
		:: reply[0] == Missing -> tell(ErrNotFound)
		fi;
		goto done
	   }
	:: over[0]					/* the reply is lost, or the attempt */
#ifdef TIMEOUT
	:: !over[0] -> timedOut = true			/* it is on its way */
	:: over[0] -> timedOut = true
#endif
	fi;
	atomic {
#ifdef M_NOT_REPEATED
		tell(ErrUnavailable);
		goto done
#else
		if
#ifndef M_TAKE_REPEATED
		:: KIND == TAKE -> tell(ErrUnavailable); goto done
#endif
		:: else
		fi;
#ifndef M_REPEATED_AFTER_TIMEOUT
		asking = timedOut && (KIND == PUT || KIND == CREATE);
#endif
		timedOut = false; sent[1] = true
#endif
	}
	over[1];
	atomic {
		if
		:: reply[1] == Stored -> tell(Success)
#ifdef M_CONFLICT_OF_REPETITION
		:: reply[1] == Conflict -> tell(ErrConflict)
#else
		/* What is stored has replaced the base of the call: so the call did not, and never will. */
		:: reply[1] == Conflict && itsReplaced == 1 -> tell(ErrConflict)
		:: reply[1] == Conflict && itsReplaced != 1 -> tell(ErrUnavailable)
#endif
#ifdef M_EXISTS_OF_REPETITION
		:: reply[1] == Exists -> tell(ErrExists)
#else
		:: reply[1] == Exists -> tell(ErrUnavailable)
#endif
#ifndef M_NO_TOKEN_IS_A_REFUSAL
		:: reply[1] == Missing && asking -> tell(ErrUnavailable)
		:: reply[1] == Missing && !asking -> tell(ErrNotFound)
#else
		:: reply[1] == Missing -> tell(ErrNotFound)
#endif
		:: reply[1] == Lost -> tell(ErrUnavailable)
#if PROPERTY != SETTLED
		:: true -> tell(ErrUnavailable)		/* this reply is lost, too */
#endif
		fi
	}
done:	skip
}

init {
	atomic {
#if KIND == CREATE
		revision = 0;
#endif
		run Caller(); run Attempt(0); run Attempt(1); run Others()
	}
}
