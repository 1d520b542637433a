/* Scenes: short plays of everything that the library does, each with its oracle, for a sweep in which one call fails. */
#ifndef TESTS_FAULT_SCENES_H
#define TESTS_FAULT_SCENES_H
#include "tests/fault/faults.h"

/* Which tests there are of each; name, and where it makes sense beside processes: 1: on threads, 2: and in a serial pool, where nothing
 * is under way for others to see. */
#define SCENE_TABLE(X)                                                                                                     \
    X(open, 2)                                                                                                             \
    X(map, 2)                                                                                                              \
    X(map_large, 2)                                                                                                        \
    X(failing_items, 2)                                                                                                    \
    X(apply, 2)                                                                                                            \
    X(apply_async, 2)                                                                                                      \
    X(map_async_cancel, 1)                                                                                                 \
    X(imap, 2)                                                                                                             \
    X(imap_unordered, 2)                                                                                                   \
    X(imap_from, 2)                                                                                                        \
    X(imap_unordered_from, 2)                                                                                              \
    X(submit, 2)                                                                                                           \
    X(executor_map, 2)                                                                                                     \
    X(wait, 2)                                                                                                             \
    X(as_completed, 2)                                                                                                     \
    X(then, 2)                                                                                                             \
    X(broadcast, 1)                                                                                                        \
    X(resize, 1)                                                                                                           \
    X(terminate, 1)                                                                                                        \
    X(crash, 0)                                                                                                            \
    X(recycle, 2)

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

#define SCENE_DECLARED(name, threads) scene_play scene_##name;
SCENE_TABLE(SCENE_DECLARED)
#undef SCENE_DECLARED

void scenes_begin(void);
void scenes_end(void);
#endif
