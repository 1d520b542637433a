#ifndef TESTS_INTEGRATION_STARTER_TASK_H
#define TESTS_INTEGRATION_STARTER_TASK_H
#include <millpond/task.h>

__attribute__((visibility("default"))) const mp_task *starter_task(void);

#endif
