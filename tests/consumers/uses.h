/* What a program's header says of tasks that one of its files registers. */
#ifndef USES_H
#define USES_H
#include <millpond.h>

typedef struct {
    mp_str path;
    int32_t limit;
} setting;
MP_TYPE(setting, path, limit);

typedef struct {
    double from, to;
} range;
MP_TYPE(range, from, to);

double length_of(double from, double to);
void forget(int32_t what);
int32_t next_number(void);

MP_TASK_DECLARE(load, setting, mp_none);
MP_TASK_DECLARE(integrate, range, double);
MP_TASK_DECLARE(spread, mp_span_range, mp_span_double);
MP_TASK_DECLARE(poke, mp_ptr, mp_ptr);
MP_TASK_DECLARE(tick, mp_none, bool);
MP_FUNCTION_DECLARE(double, length_of, (double, from), (double, to));
MP_FUNCTION_DECLARE(void, forget, (int32_t, what));
MP_TASK_DECLARE(next_number, mp_none, int32_t);

#endif
