/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ranks of one machine that hold a training's state together, as processes with real collectives.
 * The gradients are made up; the steps are those of the training loop. Each rank must end with the
 * bits of who took the same steps alone, also when one is killed in its slice, never comes, or is
 * called away when another one has begun.
 */
#include "tests/unit/cm.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/prng.h"
#include "tests/unit/coll_ranks.h"
#include "worker/ml/layout.h"
#include "worker/ml/net.h"
#include "worker/op/op_train_joint.h"
#include "worker/op/op_train_step.h"

#define SHARDS 4u
#define STEPS  4u

static _Atomic uint32_t *stage; /* of all processes: what has happened so far */

/* ---- A training ---- */

/* With running statistics, and of several blocks a rank. */
static struct model *make_model(void)
{
    static const uint32_t channels[] = {16}, hidden[] = {64};
    const struct layout_cnn plan = {
        .image = {.height = 8, .width = 8, .channels = 1},
        .channels = channels,
        .stage_count = 1,
        .depth = 1,
        .kernel = 3,
        .pool = LAYER_MAX_POOL,
        .norm = true,
        .head = {.hidden = hidden, .hidden_count = 1, .activation = LAYER_RELU}};
    struct model *model = model_create();
    model->task = MODEL_REGRESSION;
    model->input_count = 64;
    assert_int_equal(layout_cnn(model, &plan, NULL), 0);
    assert_true(model->arena_count > model->parameter_count);
    return model;
}

static const struct optim_options adamw = {
    .kind = OPTIM_ADAMW, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.01};

static struct op_train make_train(struct coll *coll, double clip_norm)
{
    struct op_train train = {.coll = coll, .flight = task_flight_open()};
    train.data.model = make_model();
    train.optim = optim_create(adamw, train.data.model->parameter_count);
    train.config.clip_norm = clip_norm;
    net_init_parameters(train.data.model, 5);
    return train;
}

static void free_train(struct op_train *train)
{
    optim_destroy(&train->optim);
    model_destroy(&train->data.model);
    task_flight_close(&train->flight);
}

/* The partial sum of one rank: as if all its shards were added up. */
static void fill_sums(const struct op_train *train, uint64_t step, uint32_t rank, float *sums)
{
    for (uint64_t i = 0; i < train->data.model->arena_count; i++) {
        sums[i] = (float)(mlq_hash_keyed(step, i, rank) >> 40) / (float)(1 << 24) - 0.5f;
    }
}

/* What of the tree each rank has: two or three of them have one node each. */
static struct tree_rest rest_of(uint32_t ranks, float *const sums[], struct tree_view *views)
{
    for (uint32_t rank = 0; rank < ranks; rank++) {
        struct tree_node nodes[TREE_NODES_MAX];
        struct tree_range range = tree_deal(SHARDS, ranks, rank);
        assert_int_equal(tree_partials(range, nodes), 1);
        views[rank] = (struct tree_view){
            .level = nodes[0].level, .index = nodes[0].index, .values = sums[rank]};
    }
    return (struct tree_rest){.views = views, .count = ranks};
}

static struct op_train_move move_of(uint64_t step)
{
    return (struct op_train_move){.rate = 0.01, .samples = 16, .is_last = step == STEPS / 2};
}

/* The same steps by one process that shares nothing: its model and optimizer. */
static struct op_train alone(uint32_t ranks, double clip_norm, uint64_t steps)
{
    struct op_train train = make_train(NULL, clip_norm);
    uint64_t count = train.data.model->arena_count;
    float *sums[RANKS_MAX], *whole = mlq_alloc_array(count, sizeof(float));
    struct tree_view views[RANKS_MAX];
    for (uint32_t rank = 0; rank < ranks; rank++) {
        sums[rank] = mlq_alloc_array(count, sizeof(float));
    }
    for (uint64_t step = 1; step <= steps; step++) {
        for (uint32_t rank = 0; rank < ranks; rank++) {
            fill_sums(&train, step, rank, sums[rank]);
        }
        struct op_train_total total = {.gradient = rest_of(ranks, sums, views), .whole = whole};
        bool is_applied = false;
        assert_int_equal(op_train_apply(&train, &total, move_of(step), &is_applied, NULL), 0);
        assert_true(is_applied);
    }
    for (uint32_t rank = 0; rank < ranks; rank++) {
        mlq_free(sums[rank]);
    }
    mlq_free(whole);
    return train;
}

static bool are_same(const struct op_train *a, const struct op_train *b)
{
    uint64_t parameters = a->data.model->parameter_count * sizeof(float);
    return a->optim->steps == b->optim->steps &&
           memcmp(a->data.model->parameters, b->data.model->parameters,
                  a->data.model->arena_count * sizeof(float)) == 0 &&
           memcmp(a->optim->first, b->optim->first, parameters) == 0 &&
           memcmp(a->optim->second, b->optim->second, parameters) == 0;
}

/* ---- One rank ---- */

struct member {
    struct coll *coll;
    struct op_train train;
    struct tree_view views[RANKS_MAX];
    struct op_train_total total;
};

static int enter(struct member *member, struct coll_gang gang, double clip_norm)
{
    if (open_or_say(&gang, &member->coll) != 0) {
        return 1;
    }
    member->train = make_train(member->coll, clip_norm);
    uint64_t bytes = member->train.data.model->arena_count * sizeof(float);
    CHECK(op_train_joint_enter(&member->train, bytes, NULL) == 0);
    CHECK(member->train.joint != NULL);
    float *sums[RANKS_MAX];
    for (uint32_t rank = 0; rank < gang.size; rank++) {
        sums[rank] = op_train_joint_sums(&member->train, rank);
    }
    member->total = (struct op_train_total){.gradient = rest_of(gang.size, sums, member->views),
                                            .whole = op_train_joint_gradient(&member->train)};
    return 0;
}

static void fill_own(struct member *member, struct coll_gang gang, uint64_t step)
{
    fill_sums(&member->train, step, gang.rank, op_train_joint_sums(&member->train, gang.rank));
}

static int step_well(struct member *member, struct coll_gang gang, uint64_t step)
{
    bool is_applied = false;
    fill_own(member, gang, step);
    CHECK(op_train_joint_meet(&member->train, NULL) == 0);
    CHECK(op_train_apply(&member->train, &member->total, move_of(step), &is_applied, NULL) == 0);
    CHECK(is_applied);
    return 0;
}

/* Its state is its own again, and that behind `steps` steps. */
static int leave(struct member *member, struct coll_gang gang, uint64_t steps)
{
    struct op_train expected = alone(gang.size, member->train.config.clip_norm, steps);
    op_train_joint_leave(&member->train);
    CHECK(member->train.joint == NULL);
    CHECK(are_same(&member->train, &expected));
    free_train(&expected);
    coll_close(&member->coll);
    CHECK(are_same(&member->train, &member->train)); /* nothing of it was the gang's */
    free_train(&member->train);
    return 0;
}

/* ---- Tests ---- */

static void run_all(uint32_t size, rank_fn body, uint32_t killed)
{
    struct ranks ranks;
    atomic_store(stage, 0);
    start_ranks(&ranks, COLL_AUTO, size, body);
    for (uint32_t rank = 0; rank < size; rank++) {
        assert_int_equal(end_of(&ranks, rank), rank == killed ? 128 + SIGKILL : 0);
    }
}

static int step_to_the_end(struct coll_gang gang, double clip_norm)
{
    struct member member;
    CHECK(enter(&member, gang, clip_norm) == 0);
    for (uint64_t step = 1; step <= STEPS; step++) {
        CHECK(step_well(&member, gang, step) == 0);
    }
    return leave(&member, gang, STEPS);
}

static int without_clipping(struct coll_gang gang)
{
    return step_to_the_end(gang, 0);
}

static int with_clipping(struct coll_gang gang)
{
    return step_to_the_end(gang, 0.5);
}

static void all_have_the_bits_of_one(void **state)
{
    (void)state;
    for (uint32_t size = 2; size <= 3; size++) {
        run_all(size, without_clipping, RANKS_MAX);
        run_all(size, with_clipping, RANKS_MAX);
    }
}

/* A step whose blocks are looked at. */
struct watched {
    struct op_train *train;
    struct optim_step step;
};

static struct watched watch_step(struct member *member)
{
    return (struct watched){
        .train = &member->train,
        .step = optim_next(member->train.optim, 0.01, member->total.gradient, 1.0f)};
}

static void step_block(const struct watched *watched, struct joint_part part)
{
    const struct op_train *train = watched->train;
    uint64_t count = train->data.model->parameter_count;
    uint64_t end = part.end < count ? part.end : count;
    optim_step_part(train->optim, train->data.model, &watched->step, part.begin, end);
    net_move_state(train->data.model, move_of(1).samples, watched->step.gradient, part.begin,
                   part.end);
}

/* In the middle of the second block of its slice. */
static void die(void *context, struct joint_part part)
{
    const struct watched *watched = context;
    bool is_second = part.begin != op_train_joint_slice(watched->train).begin;
    part.end = is_second ? part.begin + 100 : part.end;
    step_block(watched, part);
    if (is_second) {
        (void)raise(SIGKILL);
    }
}

static int lose_rank_1_in_its_slice(struct coll_gang gang)
{
    struct member member;
    bool is_applied = false;
    CHECK(enter(&member, gang, 0) == 0);
    CHECK(step_well(&member, gang, 1) == 0);
    fill_own(&member, gang, 2);
    CHECK(op_train_joint_meet(&member.train, NULL) == 0);
    if (gang.rank == 1) {
        struct watched watched = watch_step(&member);
        (void)op_train_joint_step(&member.train, die, &watched, NULL);
        return 1;
    }
    int rc = op_train_apply(&member.train, &member.total, move_of(3), &is_applied, NULL);
    CHECK(rc == MLQ_ECONN && is_applied && member.train.joint == NULL);
    return leave(&member, gang, 2);
}

static void a_rank_is_killed_in_its_slice(void **state)
{
    (void)state;
    run_all(2, lose_rank_1_in_its_slice, 1);
    run_all(3, lose_rank_1_in_its_slice, 1);
}

static int lose_rank_1_before(struct coll_gang gang)
{
    struct member member;
    CHECK(enter(&member, gang, 0) == 0);
    CHECK(step_well(&member, gang, 1) == 0);
    fill_own(&member, gang, 2);
    if (gang.rank == 1) {
        (void)raise(SIGKILL);
    }
    CHECK(op_train_joint_meet(&member.train, NULL) == MLQ_ECONN);
    return leave(&member, gang, 1);
}

static void a_rank_is_killed_before_it_comes(void **state)
{
    (void)state;
    run_all(2, lose_rank_1_before, 1);
    run_all(3, lose_rank_1_before, 1);
}

static void say_begun(void *context, struct joint_part part)
{
    step_block(context, part);
    atomic_store(stage, 1);
}

/* All have come, and rank 0 has begun; what rank 1 hears first is that the gang is over. */
static int call_rank_1_away(struct coll_gang gang)
{
    struct member member;
    bool is_applied = false;
    int rc;
    CHECK(enter(&member, gang, 0) == 0);
    CHECK(step_well(&member, gang, 1) == 0);
    fill_own(&member, gang, 2);
    if (gang.rank == 1) {
        CHECK(coll_barrier(member.coll, LIMIT_NS, NULL) == 0); /* it has come */
        while (atomic_load(stage) == 0) {
            (void)sched_yield();
        }
        coll_abort(member.coll); /* and its next call fails */
    }
    CHECK(op_train_joint_meet(&member.train, NULL) == 0);
    if (gang.rank == 0) {
        struct watched watched = watch_step(&member);
        rc = op_train_joint_step(&member.train, say_begun, &watched, NULL);
    } else {
        rc = op_train_apply(&member.train, &member.total, move_of(3), &is_applied, NULL);
        CHECK(is_applied);
    }
    CHECK(rc != 0 && member.train.joint == NULL);
    return leave(&member, gang, 2);
}

static void who_is_called_away_finishes_what_is_begun(void **state)
{
    (void)state;
    run_all(2, call_rank_1_away, RANKS_MAX);
    run_all(3, call_rank_1_away, RANKS_MAX);
}

/* Rank 1 has come, and is gone before anybody has begun: then nobody does. */
static int call_rank_1_away_early(struct coll_gang gang)
{
    struct member member;
    bool is_applied = false;
    CHECK(enter(&member, gang, 0) == 0);
    CHECK(step_well(&member, gang, 1) == 0);
    fill_own(&member, gang, 2);
    if (gang.rank == 1) {
        CHECK(op_train_joint_meet(&member.train, NULL) == 0);
        op_train_joint_leave(&member.train);
        atomic_store(stage, 1);
        return leave(&member, gang, 1);
    }
    CHECK(op_train_joint_meet(&member.train, NULL) == 0);
    while (atomic_load(stage) == 0) {
        (void)sched_yield();
    }
    int rc = op_train_apply(&member.train, &member.total, move_of(3), &is_applied, NULL);
    CHECK(rc != 0 && is_applied && member.train.joint == NULL);
    return leave(&member, gang, 2);
}

static void who_is_called_away_before_anybody_has_begun_stays_there(void **state)
{
    (void)state;
    run_all(2, call_rank_1_away_early, RANKS_MAX);
    run_all(3, call_rank_1_away_early, RANKS_MAX);
}

/* One that reaches the others by the network alone. */
static int be_apart(struct coll_gang gang)
{
    struct coll *coll = NULL;
    gang.kind = gang.rank == 1 ? COLL_GLOO : COLL_AUTO;
    if (open_or_say(&gang, &coll) != 0) {
        return 1;
    }
    struct op_train train = make_train(coll, 0), expected = make_train(NULL, 0);
    const float *parameters = train.data.model->parameters;
    CHECK(op_train_joint_enter(&train, 4096, NULL) == 0);
    CHECK(train.joint == NULL && train.data.model->parameters == parameters);
    op_train_joint_leave(&train);
    CHECK(are_same(&train, &expected));
    coll_close(&coll);
    free_train(&train);
    free_train(&expected);
    return 0;
}

static void ranks_of_several_machines_hold_their_own(void **state)
{
    (void)state;
    run_all(3, be_apart, RANKS_MAX);
}

/* How weights get to the other ranks (worker/ml/stream.h). */
static const char *const ways[] = {"never", "always", "measured"};

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_have_the_bits_of_one),
        cmocka_unit_test(a_rank_is_killed_in_its_slice),
        cmocka_unit_test(a_rank_is_killed_before_it_comes),
        cmocka_unit_test(who_is_called_away_finishes_what_is_begun),
        cmocka_unit_test(who_is_called_away_before_anybody_has_begun_stays_there),
        cmocka_unit_test(ranks_of_several_machines_hold_their_own),
    };
    stage = mmap(NULL, sizeof(*stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int failed = stage == MAP_FAILED;
    for (uint32_t i = 0; i < MLQ_COUNT_OF(ways) && failed == 0; i++) {
        (void)setenv("MLQ_OP_STREAM", ways[i], 1);
        failed = cmocka_run_group_tests_name(ways[i], tests, NULL, NULL);
    }
    return failed;
}
