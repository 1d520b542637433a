/* The seven probes: things that go wrong in the night, done to a pool on purpose. Each says what came of it. */
#ifndef PROBES_H
#define PROBES_H
#include <stdbool.h>

typedef struct {
    bool passed;
    char says[64]; /* what came of it, for the table */
} outcome;

/* items.c: one item of a hundred is bad. */
outcome crash_among_submits(void);
outcome crash_inside_a_map(void);
outcome hung_item(void);

/* streams.c: an input without end; a reader that stops. */
outcome endless_generator(void);
outcome stalled_reader(void);

/* ends.c: the program is interrupted; it is killed. */
outcome ctrl_c(void);
outcome killed_parent(void);

void say(outcome *o, bool passed, const char *format, ...) __attribute__((format(printf, 3, 4)));
double seconds(void);

#endif
