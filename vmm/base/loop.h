/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: file descriptors (epoll), timers (timerfd) and posted calls (eventfd), run by one thread.
 * Knows nothing of machines. Callbacks run on the loop's thread with no lock of ours held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct err;
struct loop;
struct loop_fd;
struct loop_timer;

typedef void loop_fd_fn(void *opaque, uint32_t epoll_events);
typedef void loop_call_fn(void *opaque);

/* Creates a loop; returns owned, or NULL with err set. */
struct loop *loop_create(struct err *err);
void loop_destroy(struct loop *loop);

/* Runs until loop_stop. Returns the value given to loop_stop. */
int loop_run(struct loop *loop);
/* Ends loop_run after the present callbacks; from any thread and from a callback. */
void loop_stop(struct loop *loop, int value);

/*
 * Delivers what is ready, after waiting at most timeout_ms for something (-1: for ever). For a loop that
 * nobody runs: a test's, or one whose thread has ended. 0 or -errno.
 */
int loop_run_once(struct loop *loop, int timeout_ms);

/* Watches fd (borrowed) for EPOLL* events. Only on the loop's thread or before it runs. */
struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *opaque,
			    struct err *err);
int loop_fd_modify(struct loop_fd *watch, uint32_t epoll_events);
void loop_fd_remove(struct loop_fd *watch);

/* A one-shot timer whose callback runs on the loop's thread. */
struct loop_timer *loop_timer_create(struct loop *loop, loop_call_fn *fn, void *opaque, struct err *err);
/*
 * Arms for the monotonic deadline (ns; a past one fires at once), or disarms with UINT64_MAX. From any
 * thread. A callback that was already due may still run once after a re-arm or disarm: it must look at its
 * own state.
 */
void loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns);
/* Only on the loop's thread, or when the loop does not run. */
void loop_timer_destroy(struct loop_timer *timer);

/* Runs fn once on the loop's thread, soon; from any thread. No allocation: at most LOOP_POST_MAX calls may
 * wait. */
#define LOOP_POST_MAX 1024
int loop_post(struct loop *loop, loop_call_fn *fn, void *opaque);

/*
 * Runs fn once on the loop's thread and returns when it is done; on that thread itself, and when no thread
 * runs the loop, it is called at once. The caller holds no lock that a callback of the loop takes.
 */
void loop_call(struct loop *loop, loop_call_fn *fn, void *opaque);
/* Whether the caller is inside loop_run of this loop, or nobody is. */
bool loop_is_mine(struct loop *loop);
