#include "tests/lib/check.h"
