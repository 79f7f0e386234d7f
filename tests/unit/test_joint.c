/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A state that ranks hold together, as processes that step it: one is killed in the middle of a
 * block, is stopped there and goes on later, or runs on while another one takes the state out. What
 * is taken out, and stepped to its end, has the bits of who did all of it alone.
 */
#include "tests/unit/cm.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/prng.h"
#include "lib/sys/mem.h"
#include "worker/ml/joint.h"

#define FLOATS  (11 * JOINT_BLOCK_FLOATS + 77) /* the last block is not full */
#define MOMENTS (FLOATS - 1500)                /* shorter, as an arena's state has none */
#define START   41u                            /* steps before this state was made */
#define NOWHERE UINT64_MAX

static const struct joint_shape three = {.ranks = 3, .vectors = 2, .floats = {FLOATS, MOMENTS}};

/* What the processes share. */
struct scene {
    _Atomic uint64_t steps; /* that a rank which runs on has finished */
    _Alignas(64) uint8_t state[];
};

/* One rank's view, and what happens to it in the middle of a step. */
struct rank {
    struct joint joint;
    float *vectors[JOINT_VECTORS_MAX]; /* what is stepped */
    uint64_t step;
    uint64_t break_at; /* a number before which a signal comes; NOWHERE: none does */
    int signal;
};

/* ---- Steps ---- */

static float start_of(uint32_t vector, uint64_t i)
{
    return (float)(mlq_hash_keyed(vector, i, 7) % 1000) / 128;
}

/* One number of both vectors, as an optimizer with momentum: not the same twice. */
static void step_number(float *const vectors[], uint64_t step, uint64_t i)
{
    float gradient = (float)(mlq_hash_keyed(step, i, 3) % 1000) / 64;
    if (i < MOMENTS) {
        vectors[1][i] = 0.9f * vectors[1][i] + gradient;
        gradient = vectors[1][i];
    }
    vectors[0][i] = 0.99f * vectors[0][i] - 0.01f * gradient;
}

static void apply(void *context, struct joint_part part)
{
    const struct rank *rank = context;
    for (uint64_t i = part.begin; i < part.end; i++) {
        if (i == rank->break_at) {
            (void)raise(rank->signal);
        }
        step_number(rank->vectors, rank->step, i);
    }
}

static void make_vectors(float *vectors[JOINT_VECTORS_MAX])
{
    for (uint32_t v = 0; v < three.vectors; v++) {
        vectors[v] = mlq_alloc_array(three.floats[v], sizeof(float));
        for (uint64_t i = 0; i < three.floats[v]; i++) {
            vectors[v][i] = start_of(v, i);
        }
    }
}

static void free_vectors(float *vectors[JOINT_VECTORS_MAX])
{
    for (uint32_t v = 0; v < three.vectors; v++) {
        mlq_free(vectors[v]);
    }
}

/* ---- A scene ---- */

static uint64_t scene_bytes(void)
{
    return sizeof(struct scene) + joint_bytes(&three);
}

static struct rank rank_of(struct scene *scene, uint32_t number)
{
    struct rank rank = {.break_at = NOWHERE, .step = START};
    joint_init(&rank.joint, &three, number, scene->state);
    memcpy(rank.vectors, rank.joint.vectors, sizeof(rank.vectors));
    return rank;
}

/* All ranks have put their slices in. */
static struct scene *open_scene(void)
{
    struct scene *scene =
        mmap(NULL, scene_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    float *vectors[JOINT_VECTORS_MAX];
    assert_true(scene != MAP_FAILED);
    make_vectors(vectors);
    for (uint32_t number = 0; number < three.ranks; number++) {
        struct rank rank = rank_of(scene, number);
        joint_put(&rank.joint, START, vectors);
    }
    free_vectors(vectors);
    return scene;
}

static void close_scene(struct scene *scene)
{
    assert_int_equal(munmap(scene, scene_bytes()), 0);
}

/* A process that takes the next step of one slice, and is sent a signal at a number of it. */
static pid_t start_step(struct scene *scene, uint32_t number, uint64_t break_at, int signal)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct rank rank = rank_of(scene, number);
        rank.step = START + 1;
        rank.break_at = break_at;
        rank.signal = signal;
        _exit(joint_step(&rank.joint, START + 1, apply, &rank) ? 0 : 1);
    }
    return pid;
}

static int status_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    return status;
}

/* Out of the state, and stepped to the end of `step`. */
static void take(struct scene *scene, uint64_t step, float *vectors[JOINT_VECTORS_MAX])
{
    struct joint_part missing[JOINT_RANKS_MAX];
    struct rank rank = rank_of(scene, 0);
    make_vectors(vectors);
    memcpy(rank.vectors, vectors, sizeof(rank.vectors));
    rank.step = step;
    uint32_t count = joint_take(&rank.joint, step, vectors, missing);
    for (uint32_t i = 0; i < count; i++) {
        apply(&rank, missing[i]);
    }
}

static void assert_state(struct scene *scene, uint64_t step)
{
    float *taken[JOINT_VECTORS_MAX], *alone[JOINT_VECTORS_MAX];
    take(scene, step, taken);
    make_vectors(alone);
    for (uint64_t s = START + 1; s <= step; s++) {
        for (uint64_t i = 0; i < FLOATS; i++) {
            step_number(alone, s, i);
        }
    }
    for (uint32_t v = 0; v < three.vectors; v++) {
        assert_memory_equal(taken[v], alone[v], three.floats[v] * sizeof(float));
    }
    free_vectors(taken);
    free_vectors(alone);
}

static bool close_at(struct scene *scene, uint64_t step)
{
    struct rank rank = rank_of(scene, 0);
    return joint_close(&rank.joint, step);
}

/* ---- Tests ---- */

static void slices_are_all_of_it(void **state)
{
    (void)state;
    struct scene *scene = open_scene();
    struct rank rank = rank_of(scene, 0);
    uint64_t at = 0;
    for (uint32_t number = 0; number < three.ranks; number++) {
        struct joint_part slice = joint_slice(&rank.joint, number);
        assert_int_equal(slice.begin, at);
        assert_true(slice.end > at);
        at = slice.end;
    }
    assert_int_equal(at, FLOATS);
    close_scene(scene);
}

static void a_step_that_all_finish(void **state)
{
    (void)state;
    struct scene *scene = open_scene();
    for (uint32_t number = 0; number < three.ranks; number++) {
        assert_int_equal(status_of(start_step(scene, number, NOWHERE, 0)), 0);
    }
    assert_true(close_at(scene, START + 1));
    assert_state(scene, START + 1);
    close_scene(scene);
}

static void nobody_has_begun(void **state)
{
    (void)state;
    struct scene *scene = open_scene();
    assert_false(close_at(scene, START + 1));
    assert_int_equal(status_of(start_step(scene, 1, NOWHERE, 0)), 1 << 8); /* it is closed */
    assert_state(scene, START);
    assert_true(close_at(scene, START + 1)); /* by now somebody wanted to: who says so goes on */
    assert_state(scene, START + 1);
    close_scene(scene);
}

/* Numbers all over a slice, the first and the last one of blocks too. */
static uint64_t place_in(struct scene *scene, uint32_t number, uint64_t chance)
{
    struct rank rank = rank_of(scene, number);
    struct joint_part slice = joint_slice(&rank.joint, number);
    static const uint64_t edges[] = {0,
                                     1,
                                     JOINT_BLOCK_FLOATS - 1,
                                     JOINT_BLOCK_FLOATS,
                                     2 * JOINT_BLOCK_FLOATS,
                                     3 * JOINT_BLOCK_FLOATS + 1};
    return slice.begin + (chance < MLQ_COUNT_OF(edges)
                              ? edges[chance]
                              : mlq_hash_keyed(chance, number, 0) % (3 * JOINT_BLOCK_FLOATS));
}

static void a_rank_is_killed_in_a_block(void **state)
{
    (void)state;
    for (uint64_t chance = 0; chance < 60; chance++) {
        struct scene *scene = open_scene();
        uint32_t number = chance % three.ranks;
        pid_t pid = start_step(scene, number, place_in(scene, number, chance / 3), SIGKILL);
        assert_true(WIFSIGNALED(status_of(pid)));
        if (chance % 2 == 0) { /* another one may be through by then */
            assert_int_equal(status_of(start_step(scene, (number + 1) % 3, NOWHERE, 0)), 0);
        }
        assert_true(close_at(scene, START + 1));
        assert_state(scene, START + 1);
        close_scene(scene);
    }
}

/* It touches what it had begun to touch, and what was taken out is right before and behind that. */
static void a_rank_is_stopped_and_goes_on(void **state)
{
    (void)state;
    for (uint64_t chance = 0; chance < 30; chance++) {
        struct scene *scene = open_scene();
        uint32_t number = chance % three.ranks;
        pid_t pid = start_step(scene, number, place_in(scene, number, chance / 3), SIGSTOP);
        assert_true(WIFSTOPPED(status_of(pid)));
        assert_true(close_at(scene, START + 1));
        assert_state(scene, START + 1);
        assert_int_equal(kill(pid, SIGCONT), 0);
        int status = status_of(pid);
        assert_true(WIFEXITED(status)); /* with 0 if that was its last block */
        assert_state(scene, START + 1);
        close_scene(scene);
    }
}

/* Steps all slices, on and on, until the state is closed. */
static void run_on(struct scene *scene)
{
    struct rank ranks[3];
    for (uint32_t number = 0; number < 3; number++) {
        ranks[number] = rank_of(scene, number);
    }
    for (uint64_t step = START + 1;; step++) {
        for (uint32_t number = 0; number < 3; number++) {
            ranks[number].step = step;
            if (!joint_step(&ranks[number].joint, step, apply, &ranks[number])) {
                _exit(0);
            }
        }
        atomic_fetch_add(&scene->steps, 1);
    }
}

static void a_rank_runs_on_while_the_state_is_taken(void **state)
{
    (void)state;
    for (uint64_t chance = 0; chance < 100; chance++) {
        struct scene *scene = open_scene();
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            run_on(scene);
        }
        while (atomic_load(&scene->steps) < 1 + chance % 3) {
            (void)sched_yield();
        }
        uint64_t step = START + 1; /* at least; it is closed by the first look */
        while (close_at(scene, step + 1)) {
            step++;
        }
        assert_state(scene, step);
        assert_int_equal(status_of(pid), 0);
        assert_state(scene, step);
        close_scene(scene);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_are_all_of_it),
        cmocka_unit_test(a_step_that_all_finish),
        cmocka_unit_test(nobody_has_begun),
        cmocka_unit_test(a_rank_is_killed_in_a_block),
        cmocka_unit_test(a_rank_is_stopped_and_goes_on),
        cmocka_unit_test(a_rank_runs_on_while_the_state_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
