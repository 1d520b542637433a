/* Scenes: short plays of everything that the library does, each with its oracle, for a sweep in which one call fails. */
#ifndef TESTS_FAULT_SCENES_H
#define TESTS_FAULT_SCENES_H
#include "tests/fault/faults.h"

/* Which tests there are of each; name, and where it makes sense beside processes: 1: on threads, 2: and in a serial pool, where nothing
 * is under way for others to see. STARTS: it is about how workers begin, which is what start methods differ in; the others are
 * played on each of them only where nothing is left out. */
#define SCENE_TABLE(X)                                                                                                     \
    X(open, 2, STARTS)                                                                                                     \
    X(map, 2, STARTS)                                                                                                      \
    X(map_large, 2, RUNS)                                                                                                  \
    X(failing_items, 2, RUNS)                                                                                              \
    X(apply, 2, RUNS)                                                                                                      \
    X(apply_async, 2, RUNS)                                                                                                \
    X(map_async_cancel, 1, RUNS)                                                                                           \
    X(imap, 2, RUNS)                                                                                                       \
    X(imap_unordered, 2, RUNS)                                                                                             \
    X(imap_from, 2, RUNS)                                                                                                  \
    X(imap_unordered_from, 2, RUNS)                                                                                        \
    X(submit, 2, RUNS)                                                                                                     \
    X(executor_map, 2, RUNS)                                                                                               \
    X(wait, 2, RUNS)                                                                                                       \
    X(as_completed, 2, RUNS)                                                                                               \
    X(then, 2, RUNS)                                                                                                       \
    X(broadcast, 1, STARTS)                                                                                                \
    X(resize, 1, STARTS)                                                                                                   \
    X(terminate, 1, RUNS)                                                                                                  \
    X(crash, 0, STARTS)                                                                                                    \
    X(recycle, 2, STARTS)

typedef enum scene_kind { ON_FORK, ON_SPAWN, ON_FORKSERVER, ON_THREADS, ON_SERIAL } scene_kind;

typedef struct scene_case {
    scene_kind kind;
    fault_call call;
    fault_side side;
    int os_error, first, count; /* as faults_arm takes them */
    bool unseen;                /* the fault is one that nobody may notice: all succeeds as if there were none */
    char when[160];             /* in words */
} scene_case;

/* Plays it: opens what it needs, arms the fault, and ends everything again; fails the test if anything is not as it must be. How
 * many calls have failed. */
typedef void scene_play(void);
int scene_run(scene_play *play, const scene_case *how);

#define SCENE_DECLARED(name, threads, about) scene_play scene_##name;
SCENE_TABLE(SCENE_DECLARED)
#undef SCENE_DECLARED

void scenes_begin(void);
void scenes_end(void);
#endif
