/* mandelbrot OUT.png: a picture of a corner of the Mandelbrot set, rendered row by row in a pool of processes: an item is a
 * row, its result the row's bytes. Rows cost very different amounts of work, which the pool evens out by itself. */
#include "examples/options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <millpond.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char help[] = "mandelbrot [--workers N] [--chunksize N] [--width N] [--height N] OUT.png\n"
                           "Renders a picture of the Mandelbrot set in a pool of processes, one row an item.\n"
                           "\n"
                           "  --workers N    processes in the pool; default: one for each CPU that this program may use\n"
                           "  --chunksize N  rows that travel together to a worker; default: as the pool finds best\n"
                           "  --width N      of the picture, in pixels; default: 1920\n"
                           "  --height N     default: 1080\n"
                           "  --help         this text\n"
                           "\n"
                           "Exit code: 0 done, 1 not done (no file is left then), 2 wrong options.\n";

enum { SAMPLES = 2, ITERATIONS = 3000, SIDE_MAX = 16384 };

/* Where to look: the middle, and how much of the plane the picture's height spans. */
static const double middle_x = -0.74352, middle_y = 0.13140, span_y = 0.0013;

/* ---- the task ---- */

typedef struct {
    int32_t row, width, height;
    double left, top, pixel; /* the picture's upper left corner in the plane, and the side of a pixel */
} row_job;
MP_TYPE(row_job, row, width, height, left, top, pixel);

typedef struct {
    double r, g, b;
} colour;

/* A slow wave through dark blue, white and gold; `depth` is the smooth iteration count, `light` 0 to 1. */
static colour paint(double depth, double light)
{
    double t = 0.42 * log2(depth + 1) * log2(depth + 1) * 0.25;
    colour wave = {0.5 - 0.48 * cos(t + 3.4), 0.46 - 0.42 * cos(t + 3.7), 0.48 - 0.36 * cos(t + 4.3)};
    double shade = 0.25 + 0.95 * light;
    return (colour){wave.r * shade, wave.g * shade, wave.b * shade};
}

/* One point. The derivative dz/dc comes along: z / dz points uphill, and a light from the upper left makes the hills seen. */
static colour look_at(double cx, double cy)
{
    double x = 0, y = 0, dx = 0, dy = 0;
    for (int n = 0; n < ITERATIONS; n++) {
        double next = 2 * (x * dx - y * dy) + 1;
        dy = 2 * (x * dy + y * dx);
        dx = next;
        next = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next;
        double square = x * x + y * y;
        if (square > 1e6) {
            double depth = n + 1 - log2(log(square) / 2 / M_LN2);
            double ux = x * dx + y * dy, uy = y * dx - x * dy, length = hypot(ux, uy);
            double light = length > 0 ? (M_SQRT1_2 * (uy - ux) / length + 1.2) / 2.2 : 1;
            return paint(depth, light < 0 ? 0 : light);
        }
    }
    return (colour){0.01, 0.01, 0.02};
}

static uint8_t byte_of(double value)
{
    double level = sqrt(value < 0 ? 0 : value > 1 ? 1 : value); /* the eye, and PNG, are not linear */
    return (uint8_t)(level * 255 + 0.5);
}

/* The mean of SAMPLES x SAMPLES points of one pixel. */
static colour pixel_at(const row_job *job, int32_t column)
{
    colour sum = {0};
    for (int down = 0; down < SAMPLES; down++)
        for (int right = 0; right < SAMPLES; right++) {
            double x = column + (right + 0.5) / SAMPLES, y = job->row + (down + 0.5) / SAMPLES;
            colour one = look_at(job->left + x * job->pixel, job->top - y * job->pixel);
            sum = (colour){sum.r + one.r, sum.g + one.g, sum.b + one.b};
        }
    return (colour){sum.r / (SAMPLES * SAMPLES), sum.g / (SAMPLES * SAMPLES), sum.b / (SAMPLES * SAMPLES)};
}

static mp_status render_row(const row_job *job, mp_bytes *pixels, mp_call *call)
{
    size_t size = (size_t)job->width * 3;
    uint8_t *out = mp_call_alloc(call, size); /* freed after the result was sent */
    if (!out)
        return mp_fail(call, MP_ENOMEM, "no memory for a row of %d pixels", job->width);
    *pixels = (mp_bytes){out, size};

    for (int32_t column = 0; column < job->width; column++) {
        colour mean = pixel_at(job, column);
        *out++ = byte_of(mean.r);
        *out++ = byte_of(mean.g);
        *out++ = byte_of(mean.b);
    }
    return MP_OK;
}
MP_TASK(render_row, row_job, mp_bytes);

/* ---- the program ---- */

typedef struct settings {
    long workers, chunksize, width, height;
    const char *path;
} settings;

static settings parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"workers", required_argument, NULL, 'w'}, {"chunksize", required_argument, NULL, 'c'},
        {"width", required_argument, NULL, 'x'},   {"height", required_argument, NULL, 'y'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    settings chosen = {.width = 1920, .height = 1080};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'w': chosen.workers = option_number("--workers", optarg, 1, 100000); break;
        case 'c': chosen.chunksize = option_number("--chunksize", optarg, 1, 1000000000); break;
        case 'x': chosen.width = option_number("--width", optarg, 1, SIDE_MAX); break;
        case 'y': chosen.height = option_number("--height", optarg, 1, SIDE_MAX); break;
        case 'h': fputs(help, stdout); exit(0);
        default: fputs("mandelbrot --help lists the options\n", stderr); exit(2);
        }
    }
    if (optind != argc - 1) {
        fputs("mandelbrot: name one file to write: mandelbrot OUT.png\n", stderr);
        exit(2);
    }
    chosen.path = argv[optind];
    return chosen;
}

static row_job *make_jobs(const settings *chosen)
{
    row_job *jobs = calloc((size_t)chosen->height, sizeof *jobs);
    double pixel = span_y / (double)chosen->height;
    for (int32_t row = 0; jobs && row < chosen->height; row++)
        jobs[row] = (row_job){.row = row,
                              .width = (int32_t)chosen->width,
                              .height = (int32_t)chosen->height,
                              .left = middle_x - pixel * (double)chosen->width / 2,
                              .top = middle_y + span_y / 2,
                              .pixel = pixel};
    return jobs;
}

/* The rows' results, one for each row; free what they own with mp_free. */
static mp_status render(const settings *chosen, const row_job *jobs, mp_bytes *rows, mp_error *error)
{
    mp_pool *pool;
    mp_status status = mp_pool_open(&pool, .processes = (int)chosen->workers, .error = error);
    if (status != MP_OK)
        return status;
    status =
        mp_pool_map(pool, render_row, jobs, (size_t)chosen->height, rows, .chunksize = chosen->chunksize, .error = error);
    mp_pool_close(pool);
    mp_pool_join(pool);
    mp_pool_free(&pool);
    return status;
}

static void join_rows(const settings *chosen, const mp_bytes *rows, uint8_t *picture)
{
    size_t size = (size_t)chosen->width * 3;
    for (size_t row = 0; row < (size_t)chosen->height; row++)
        memcpy(picture + row * size, rows[row].data, size);
}

/* What a full disk does shows in fwrite, fflush or fclose, whichever comes to it. */
static bool write_png(FILE *file, const settings *chosen, const uint8_t *picture)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)chosen->width,
                       .height = (png_uint_32)chosen->height,
                       .format = PNG_FORMAT_RGB};
    errno = 0;
    if (!png_image_write_to_stdio(&image, file, 0, picture, 0, NULL) || fflush(file) || ferror(file)) {
        fprintf(stderr, "mandelbrot: cannot write %s: %s\n", chosen->path, errno ? strerror(errno) : image.message);
        return false;
    }
    return true;
}

/* Renders and writes. */
static bool make_picture(const settings *chosen, FILE *file)
{
    row_job *jobs = make_jobs(chosen);
    mp_bytes *rows = calloc((size_t)chosen->height, sizeof *rows);
    uint8_t *picture = malloc((size_t)chosen->width * (size_t)chosen->height * 3);
    bool good = jobs && rows && picture;
    if (good) {
        mp_error error;
        good = render(chosen, jobs, rows, &error) == MP_OK;
        if (good)
            join_rows(chosen, rows, picture);
        else
            mp_perror(&error);
        mp_free(mp_bytes, rows, (size_t)chosen->height);
        good = good && write_png(file, chosen, picture);
    } else {
        fputs("mandelbrot: not enough memory\n", stderr);
    }
    free(picture);
    free(rows);
    free(jobs);
    return good;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    settings chosen = parse_options(argc, argv);
    FILE *file = fopen(chosen.path, "wbe"); /* before the work, so that nobody waits for a path that cannot be written */
    struct stat about;
    if (!file || fstat(fileno(file), &about)) {
        fprintf(stderr, "mandelbrot: cannot write %s: %s\n", chosen.path, strerror(errno));
        return 1;
    }
    double begin = now();
    bool good = make_picture(&chosen, file);
    if (fclose(file) && good) {
        fprintf(stderr, "mandelbrot: cannot write %s: %s\n", chosen.path, strerror(errno));
        good = false;
    }
    if (!good) {
        if (S_ISREG(about.st_mode)) /* half a picture is none; but never remove a device */
            unlink(chosen.path);
        return 1;
    }
    printf("%s: %ld x %ld pixels in %.2f s, by %d workers\n", chosen.path, chosen.width, chosen.height, now() - begin,
           chosen.workers ? (int)chosen.workers : mp_cpu_count());
    return 0;
}
