/* remote.pml: a model of what threads do to each other's slabs, for the checker spin: remote frees, the counts at which
   an owner wants to know (wake), PENDING and the hand-over to the owner or, if its thread has ended, to the sender;
   claim, disown, orphans, adoption, thread exit. Functions have the names that they have in slab.c and arena.c, and
   each of their accesses to what threads share is a step of its own.

   One slab of BLOCKS blocks, ARENAS arenas, THREADS threads that begin, allocate, free any live block, and end, in
   any order, for ever. Stated, and checked in every state that can be reached:

   - no block is handed out twice: what is popped is not live;
   - none is lost: whenever all threads are between two operations, live blocks and those on the two lists are all;
   - no slab is stuck: then one that is PENDING is on the pending stack of an arena that a thread has; and if all its
     blocks are free, it is open, or has been destroyed, or its owner has been told;
   - a slab is in one list of one owner, and the field and the word that name him agree;
   - nobody waits for ever (spin's own check of invalid end states).

   Left out: forming, borrowing, purging, several slabs and classes, forks, dead arenas, and memory order: each step is
   seen by all at once (sequential consistency). Where the code has release and acquire, this model cannot tell whether
   they are strong enough; that is for ThreadSanitizer and for the argument at each access.

   With one of the BROKEN_ macros the model has a bug that the checker must find (tests/model). */

#ifndef BLOCKS
#define BLOCKS 3
#endif
#ifndef ARENAS
#define ARENAS 2
#endif
#ifndef THREADS
#define THREADS 2
#endif
#ifndef LOOK
#define LOOK 3 /* a partial slab is looked at whenever so many more of its blocks are free: slab_next_look */
#endif
#ifndef ENOUGH
#define ENOUGH 1 /* free blocks with which a slab that was full is worth opening */
#endif
#define NEVER 7
#define NOBODY 0 /* arena numbers, ids, begin at 1 */

mtype = { UNLISTED, OPEN, PARTIAL, WAITING };
mtype = { FREE, LIVE, IN_HAND };

/* A list is its count and its first block; each block has what the list was before it came: (count, block). */
typedef list { byte count, first };
list link[BLOCKS];

/* ---- the slab ---- */
bool exists;
mtype state = UNLISTED; /* the owner's list that it is in */
byte owner;
list head;
byte wake = NEVER;
/* The word `remote`. It changes as a whole: see COMPARE_AND_SWAP. */
byte remote_id, remote_wake;
list remote;
bool pending;
bool orphan;

/* ---- the arenas ---- */
bool pending_stack[ARENAS + 1]; /* the slab is on it */
bool taken[ARENAS + 1], idle_listed[ARENAS + 1];
bool arenas_lock, orphans_lock;

/* ---- what the checker knows, and the code does not ---- */
mtype block[BLOCKS] = FREE;
byte busy; /* threads in the midst of an operation */

#define LOAD                                                                                                           \
    s_id = remote_id; s_wake = remote_wake; s_count = remote.count; s_first = remote.first; s_pending = pending
#define FORGET                                                                                                         \
    s_id = 0; s_wake = 0; s_count = 0; s_first = 0; s_pending = false; n = 0
#define UNCHANGED                                                                                                      \
    (remote_id == s_id && remote_wake == s_wake && remote.count == s_count && remote.first == s_first &&               \
     pending == s_pending)

/* In `done`: whether the word was still what LOAD saw. */
#define COMPARE_AND_SWAP(id, its_wake, its_count, its_first, its_pending)                                              \
    atomic {                                                                                                           \
        done = UNCHANGED;                                                                                              \
        if                                                                                                             \
        :: done ->                                                                                                     \
            remote_id = id; remote_wake = its_wake; remote.count = its_count; remote.first = its_first;                \
            pending = its_pending                                                                                      \
        :: else                                                                                                        \
        fi                                                                                                             \
    }

inline lock(which) { atomic { !which -> which = true } }
inline unlock(which) { which = false }

/* ---- slab.c ---- */

inline slab_pop()
{
    atomic {
        assert(head.count > 0 && block[head.first] == FREE);
        n = head.first;
        block[n] = LIVE;
        head.count = link[n].count;
        head.first = link[n].first;
        link[n].count = 0;
        link[n].first = 0;
        n = 0
    }
}

inline slab_push()
{
    atomic {
        assert(block[b] == IN_HAND);
        link[b].count = head.count;
        link[b].first = head.first;
        head.count++;
        head.first = b;
        block[b] = FREE;
        b = 0
    }
}

inline slab_take_remote()
{
    do
    :: atomic { LOAD };
       if
       :: s_count == 0 -> break
       :: else ->
           COMPARE_AND_SWAP(s_id, s_wake, 0, 0, s_pending);
           if
           :: done -> atomic { head.count = s_count; head.first = s_first; break }
           :: else
           fi
       fi
    od;
    atomic { FORGET }
}

/* The local list may have blocks, too. */
inline slab_merge_remote()
{
    do
    :: atomic { LOAD };
       COMPARE_AND_SWAP(s_id, s_wake, 0, 0, s_pending);
       if
       :: done -> break
       :: else
       fi
    od;
    atomic {
        do
        :: s_count > 0 ->
            n = s_first;
            s_count = link[n].count;
            s_first = link[n].first;
            link[n].count = head.count;
            link[n].first = head.first;
            head.count++;
            head.first = n
        :: else -> break
        od;
        FORGET
    }
}

inline slab_claim(arena, its_wake)
{
#ifdef BROKEN_CLAIM
    atomic { done = remote_id == NOBODY };
    if
    :: done -> atomic { remote_id = arena; remote_wake = its_wake }
    :: else
    fi;
#else
    atomic {
        done = remote_id == NOBODY;
        if
        :: done -> remote_id = arena; remote_wake = its_wake
        :: else
        fi
    };
#endif
    if
    :: done -> owner = arena
    :: else
    fi
}

inline slab_disown(arena)
{
    atomic { LOAD };
    if
    :: s_count != 0 || s_pending -> done = false
    :: else ->
#ifndef BROKEN_DISOWN_LATE
        owner = NOBODY; /* before the word says so, or the next owner's name could be overwritten */
#endif
#ifdef BROKEN_DISOWN
        atomic { remote_id = 0; remote_wake = 0; remote.count = 0; remote.first = 0; pending = false; done = true };
#else
        COMPARE_AND_SWAP(NOBODY, 0, 0, 0, false);
#endif
        if
#ifdef BROKEN_DISOWN_LATE
        :: done -> owner = NOBODY
#endif
        :: !done -> owner = arena
        :: else
        fi
    fi;
    atomic { FORGET }
}

inline slab_destroy(drained)
{
    atomic {
        n = 0;
        do
        :: n < BLOCKS -> assert(block[n] == FREE); n++
        :: else -> break
        od;
        assert(remote_id == owner && (!pending || drained) && !orphan);
        n = 1;
        do
        :: n <= ARENAS -> assert(!pending_stack[n]); n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < BLOCKS -> link[n].count = 0; link[n].first = 0; n++
        :: else -> break
        od;
        exists = false;
        state = UNLISTED;
        owner = NOBODY;
        head.count = 0;
        head.first = 0;
        wake = NEVER;
        remote_id = NOBODY; remote_wake = 0; remote.count = 0; remote.first = 0;
        pending = false;
        n = 0
    }
}

/* ---- arena.c: orphans ---- */

/* Who has claimed a slab takes it out of the orphans before using its links. */
inline orphan_claimed()
{
#ifndef BROKEN_ORPHAN
    if
    :: orphan ->
        lock(orphans_lock);
        orphan = false;
        unlock(orphans_lock)
    :: else
    fi
#else
    skip
#endif
}

inline orphan_leave(arena)
{
    lock(orphans_lock);
    orphan = true;
    slab_disown(arena);
    if
    :: !done -> orphan = false
    :: else
    fi;
    unlock(orphans_lock)
}

inline orphan_adopt(arena)
{
    done = false;
    if
    :: orphan ->
        lock(orphans_lock);
        if
#ifdef BROKEN_ADOPT
        :: orphan -> orphan = false; slab_claim(arena, NEVER)
#else
        :: orphan -> slab_claim(arena, NEVER); orphan = false
#endif
        :: else
        fi;
        unlock(orphans_lock)
    :: else
    fi
}

/* ---- arena.c: places of an owned slab ---- */

inline slab_wait() { atomic { assert(state == UNLISTED); state = WAITING } }

/* `drained`: it came from the pending stack, and PENDING is the caller's. */
inline slab_reconsider(drained)
{
    do
    :: atomic { assert(exists); LOAD };
       if
       :: state == OPEN ->
           COMPARE_AND_SWAP(s_id, NEVER, s_count, s_first, (s_pending && !drained));
           if
           :: done -> break
           :: else
           fi
#ifndef BROKEN_PENDING
       :: state != OPEN && s_pending && !drained ->
           wake = NEVER; /* it is in the pending stack, or on its way there */
           break
       :: state != OPEN && (!s_pending || drained) ->
#else
       :: state != OPEN ->
#endif
           if
           :: head.count + s_count == BLOCKS -> slab_destroy(drained); break
           :: else ->
               atomic {
                   if
                   :: state == WAITING && head.count + s_count >= ENOUGH -> state = PARTIAL
                   :: else
                   fi;
                   n = head.count + s_count;
                   if
                   :: state == WAITING -> n = ENOUGH - n
                   :: else ->
                       n = ((n / LOOK + 1) * LOOK < BLOCKS -> (n / LOOK + 1) * LOOK : BLOCKS) - n
                   fi;
                   /* n blocks are missing: if both lists grow, one of them by half of that before the sum does. */
#ifndef BROKEN_HALF
                   n = (s_count != 0 -> (n + 1) / 2 : n);
#endif
                   wake = head.count + n;
                   n = (s_count != 0 -> s_count + n : 1)
               };
               COMPARE_AND_SWAP(s_id, n, s_count, s_first, (s_pending && !drained));
               if
               :: done -> break
               :: else
               fi
           fi
       fi
    od;
    atomic { FORGET; done = false }
}

inline arena_drain(arena)
{
    atomic {
        done = pending_stack[arena];
        pending_stack[arena] = false;
        assert(!done || (pending && remote_id == arena))
    };
    if
    :: done -> slab_reconsider(true)
    :: else
    fi
}

inline arena_wake(arena)
{
    slab_reconsider(false);
    if
    :: pending_stack[arena] -> arena_drain(arena)
    :: else
    fi
}

inline slab_keep()
{
    atomic { LOAD };
    if
    :: s_count != 0 || s_pending -> done = false
#ifdef BROKEN_KEEP
    :: else -> done = true
#else
    :: else -> COMPARE_AND_SWAP(s_id, 1, s_count, s_first, s_pending)
#endif
    fi;
    if
    :: done -> slab_wait(); wake = ENOUGH
    :: else
    fi;
    atomic { FORGET }
}

/* Whether a slab stays with its thread is a guess of the code's; here it may or may not. */
inline slab_close(arena)
{
    atomic { assert(state == OPEN && head.count == 0); state = UNLISTED };
    if
    :: slab_keep()
    :: done = false
    fi;
    if
    :: !done ->
        slab_disown(arena);
        if
        :: !done -> slab_wait(); slab_reconsider(false)
        :: else
        fi
    :: else
    fi
}

inline slab_open()
{
    atomic { assert(state == UNLISTED); state = OPEN; wake = NEVER };
    do
    :: atomic { LOAD };
       COMPARE_AND_SWAP(s_id, NEVER, s_count, s_first, s_pending);
       if
       :: done -> break
       :: else
       fi
    :: break /* it stays */
    od;
    atomic { FORGET }
}

/* ---- arena.c: allocation ---- */

#define IN(arena, place) (exists && owner == arena && state == place)

/* Pops a block, or leaves the slab. */
inline slab_supply(arena)
{
    if
    :: head.count == 0 -> slab_take_remote()
    :: else
    fi;
    if
    :: head.count != 0 -> slab_pop()
    :: else -> slab_close(arena)
    fi
}

inline arena_refill(arena)
{
    if
    :: pending_stack[arena] -> arena_drain(arena)
    :: else
    fi;
    if
    :: atomic { IN(arena, PARTIAL) -> state = UNLISTED }; slab_open(); slab_supply(arena)
    :: else ->
        orphan_adopt(arena);
        if
        :: !done && !exists ->
            /* A run of free slices becomes a slab; one thread gets it. */
            atomic {
                done = !exists;
                if
                :: done ->
                    exists = true; owner = arena; remote_id = arena; remote_wake = NEVER; wake = NEVER;
                    n = BLOCKS;
                    do
                    :: n > 0 ->
                        n--;
                        link[n].count = head.count;
                        link[n].first = head.first;
                        head.count++;
                        head.first = n
                    :: else -> break
                    od
                :: else
                fi
            }
        :: atomic {
               !done && IN(arena, WAITING) && head.count + remote.count != 0 -> state = UNLISTED; done = true
           } /* out of memory: it will do */
        :: else
        fi;
        if
        :: done -> slab_open(); slab_supply(arena)
        :: else
        fi
    fi
}

inline allocate(arena)
{
    if
    :: IN(arena, OPEN) -> slab_supply(arena)
    :: else -> arena_refill(arena)
    fi
}

/* ---- arena_registry.c: threads begin and end ---- */

inline slab_leave(arena)
{
    slab_merge_remote();
    if
    :: head.count == BLOCKS && !pending -> slab_destroy(false)
    :: else ->
        if
        :: head.count == 0 -> slab_disown(arena)
        :: else -> orphan_leave(arena)
        fi;
        if
        :: !done -> slab_wait(); slab_reconsider(false)
        :: else
        fi
    fi
}

inline arena_retire(arena)
{
    do
    :: arena_drain(arena);
       if
       :: atomic { exists && owner == arena -> state = UNLISTED }; slab_leave(arena)
       :: else
       fi;
       lock(arenas_lock);
       taken[arena] = false;
       idle_listed[arena] = true;
       unlock(arenas_lock);
       /* A sender that saw the arena active has left its slab to us: look once more. */
#ifdef BROKEN_RETIRE
       break
#else
       if
       :: !pending_stack[arena] -> break
       :: else ->
           atomic { done = !taken[arena]; taken[arena] = true };
           if
           :: !done -> break
           :: else
           fi
       fi
#endif
    od
}

inline arena_obtain()
{
    /* With no arena left, the next thread begins when another one has ended. */
    do
    :: atomic {
           !arenas_lock;
           if
           :: idle_listed[1] -> me = 1
           :: idle_listed[2] -> me = 2
           fi;
           arenas_lock = true
       };
       idle_listed[me] = false;
       atomic { done = !taken[me]; taken[me] = true };
       unlock(arenas_lock);
       if
       :: done -> break
       :: else -> me = 0 /* a sender is doing its work, and lists it again after */
       fi
    od
}

/* ---- arena.c: frees ---- */

inline arena_notify()
{
    atomic { assert(!pending_stack[to]); pending_stack[to] = true };
#ifndef BROKEN_NOTIFY
    if
    :: !taken[to] ->
        atomic { done = !taken[to]; taken[to] = true };
        if
        :: done -> arena_retire(to)
        :: else
        fi
    :: else
    fi;
#endif
    to = 0
}

inline arena_release_foreign(arena)
{
    do
    :: atomic { LOAD };
       if
       :: s_id == NOBODY ->
#ifdef BROKEN_WAITS
           slab_claim(arena, NEVER);
#else
           slab_claim(arena, 1);
#endif
           if
           :: done ->
               orphan_claimed();
               atomic { slab_wait(); slab_push() };
               if
               :: head.count < ENOUGH -> wake = ENOUGH /* slab_waits */
               :: else -> slab_reconsider(false)
               fi;
               break
           :: else
           fi
       :: s_id == arena -> /* ours, though the caller did not see that */
           slab_push();
           if
           :: head.count >= wake -> arena_wake(arena)
           :: else
           fi;
           break
       :: else ->
           atomic {
               link[b].count = s_count;
               link[b].first = s_first;
               n = (s_count + 1 >= s_wake && !s_pending -> 1 : 0)
           };
           atomic {
#ifdef BROKEN_PUSH
               remote.count = s_count + 1; remote.first = b; pending = pending || n == 1; done = true;
#else
               COMPARE_AND_SWAP(s_id, s_wake, s_count + 1, b, (s_pending || n == 1));
#endif
               if
               :: done -> block[b] = FREE; b = 0; to = (n == 1 -> s_id : 0)
               :: else
               fi;
               FORGET
           };
           if
           :: done ->
               if
               :: to != 0 -> arena_notify()
               :: else
               fi;
               break
           :: else
           fi
       fi
    od
}

inline release(arena)
{
    if
    :: atomic { owner == arena -> slab_push() };
       if
       :: head.count >= wake -> arena_wake(arena)
       :: else
       fi
    :: owner != arena -> arena_release_foreign(arena)
    fi
}

/* ---- the properties ---- */

inline begin() { atomic { busy++ } }

/* When nobody is in the midst of anything. */
inline end()
{
    atomic {
        FORGET;
        done = false;
        busy--;
        if
        :: busy == 0 && exists ->
            n = 0;
            s_count = head.count + remote.count;
            do
            :: n < BLOCKS -> s_count = s_count + (block[n] != FREE -> 1 : 0); n++
            :: else -> break
            od;
            assert(s_count == BLOCKS); /* none lost */
            s_count = head.count;
            n = head.first;
            do
            :: s_count > 0 -> assert(block[n] == FREE && link[n].count == s_count - 1); s_count--; n = link[n].first
            :: else -> break
            od;
            s_count = remote.count;
            n = remote.first;
            do
            :: s_count > 0 -> assert(block[n] == FREE && link[n].count == s_count - 1); s_count--; n = link[n].first
            :: else -> break
            od;
            assert(owner == remote_id && !(orphan && owner != NOBODY));
            assert((owner == NOBODY) == (state == UNLISTED));
            assert(owner != NOBODY || (remote.count == 0 && !pending && head.count < BLOCKS));
            assert(owner != NOBODY || orphan || head.count == 0);
            assert(!pending || (pending_stack[remote_id] && taken[remote_id])); /* somebody will look */
            assert(owner == NOBODY || pending || remote.count < remote_wake);
            assert(head.count + remote.count < BLOCKS || state == OPEN || pending);
            assert(owner == NOBODY || taken[owner] || head.count + remote.count < BLOCKS);
            s_count = 0;
            n = 0
        :: busy == 0 && !exists ->
            do
            :: n < BLOCKS -> assert(block[n] == FREE); n++
            :: else -> break
            od;
            n = 0
        :: else
        fi
    }
}

proctype thread()
{
    byte me, b, n, to;
    byte s_id, s_wake, s_count, s_first; /* what LOAD saw */
    bool s_pending, done;
end_none:
    do
    :: begin(); arena_obtain(); end();
       do
       :: begin(); allocate(me); end()
       :: atomic {
              if
              :: block[0] == LIVE -> b = 0
              :: block[1] == LIVE -> b = 1
#if BLOCKS > 2
              :: block[2] == LIVE -> b = 2
#endif
#if BLOCKS > 3
              :: block[3] == LIVE -> b = 3
#endif
              fi;
              block[b] = IN_HAND;
              begin()
          };
          release(me);
          end()
       :: begin(); arena_retire(me); me = 0; end(); break
       od
    od
}

init
{
    atomic {
        byte i = 1;
        do
        :: i <= ARENAS -> idle_listed[i] = true; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < THREADS -> run thread(); i++
        :: else -> break
        od
    }
}
