/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop over epoll(7). Knows nothing of machines.
 *
 * A watch that is removed while a batch of events is being delivered may still be named by a later event of
 * that batch: it is marked dead and freed when the batch is done. Posted calls wait in a ring under a mutex;
 * an eventfd wakes the loop. A timer is a timerfd and a watch, so that any thread may arm it by one system
 * call and no lock.
 */
#include "vmm/base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"

#define LOOP_EVENTS_PER_WAIT 16

struct loop_fd {
	struct loop *loop;
	struct loop_fd *next_dead; /* list of watches to free after the batch */
	loop_fd_fn *fn;
	void *opaque;
	int fd;    /* borrowed */
	bool dead; /* removed: no more callbacks */
};

struct loop_timer {
	struct loop_fd *watch;
	loop_call_fn *fn;
	void *opaque;
	int fd; /* timerfd, owned */
};

struct loop_call {
	loop_call_fn *fn;
	void *opaque;
};

/* Somebody who waits in loop_call; lives on its stack. post_lock. */
struct loop_waiter {
	struct loop_waiter *next;
	struct loop_call call;
	bool done;
};

struct loop {
	int epoll_fd;
	int wake_fd; /* eventfd: something was posted, or stop */
	struct loop_fd *wake_watch;
	struct loop_fd *dead; /* loop's thread only */
	bool delivering;      /* a batch is under way; loop's thread only */
	_Atomic bool stopping;
	_Atomic int stop_value;
	pthread_mutex_t post_lock; /* guards all below; a leaf */
	struct loop_call post[LOOP_POST_MAX];
	size_t post_head;
	size_t post_count;
	struct loop_waiter *waiter; /* calls to be run, last come first */
	pthread_cond_t call_done;   /* some waiter's `done` became true */
	bool running;               /* a thread is in loop_run: `runner` */
	pthread_t runner;
};

static void loop_wake(struct loop *loop)
{
	const uint64_t one = 1;
	ssize_t written = write(loop->wake_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: the counter is full, so the loop is awake anyway */
}

static bool loop_take_post(struct loop *loop, struct loop_call *call)
{
	bool taken = false;

	pthread_mutex_lock(&loop->post_lock);
	if (loop->post_count > 0) {
		*call = loop->post[loop->post_head];
		loop->post_head = (loop->post_head + 1) % LOOP_POST_MAX;
		loop->post_count--;
		taken = true;
	}
	pthread_mutex_unlock(&loop->post_lock);
	return taken;
}

static struct loop_waiter *loop_take_waiter(struct loop *loop)
{
	struct loop_waiter *waiter;

	pthread_mutex_lock(&loop->post_lock);
	waiter = loop->waiter;
	if (waiter)
		loop->waiter = waiter->next;
	pthread_mutex_unlock(&loop->post_lock);
	return waiter;
}

static void loop_serve_waiters(struct loop *loop)
{
	struct loop_waiter *waiter;

	while ((waiter = loop_take_waiter(loop)) != NULL) {
		waiter->call.fn(waiter->call.opaque);
		pthread_mutex_lock(&loop->post_lock);
		waiter->done = true;
		pthread_cond_broadcast(&loop->call_done);
		pthread_mutex_unlock(&loop->post_lock);
	}
}

static void loop_on_wake(void *opaque, uint32_t epoll_events)
{
	struct loop *loop = opaque;
	struct loop_call call;
	uint64_t count;
	ssize_t got = read(loop->wake_fd, &count, sizeof(count));

	(void)got;
	while (loop_take_post(loop, &call))
		call.fn(call.opaque);
	loop_serve_waiters(loop);
}

static struct loop *loop_free(struct loop *loop)
{
	if (loop->wake_watch)
		loop_fd_remove(loop->wake_watch);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_cond_destroy(&loop->call_done);
	pthread_mutex_destroy(&loop->post_lock);
	free(loop);
	return NULL;
}

struct loop *loop_create(struct err *err)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop) {
		err_set(err, -ENOMEM, "no memory for an event loop");
		return NULL;
	}
	pthread_mutex_init(&loop->post_lock, NULL);
	pthread_cond_init(&loop->call_done, NULL);
	loop->wake_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		err_set_errno(err, -errno, "epoll_create1");
		return loop_free(loop);
	}
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		err_set_errno(err, -errno, "eventfd");
		return loop_free(loop);
	}
	loop->wake_watch = loop_fd_add(loop, loop->wake_fd, EPOLLIN, loop_on_wake, loop, err);
	return loop->wake_watch ? loop : loop_free(loop);
}

void loop_destroy(struct loop *loop)
{
	if (loop)
		loop_free(loop);
}

static void loop_bury_dead(struct loop *loop)
{
	while (loop->dead) {
		struct loop_fd *watch = loop->dead;

		loop->dead = watch->next_dead;
		free(watch);
	}
}

int loop_run_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event events[LOOP_EVENTS_PER_WAIT];
	int count = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_PER_WAIT, timeout_ms);

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	loop->delivering = true;
	for (int i = 0; i < count; i++) {
		struct loop_fd *watch = events[i].data.ptr;

		if (!watch->dead)
			watch->fn(watch->opaque, events[i].events);
	}
	loop->delivering = false;
	loop_bury_dead(loop);
	return 0;
}

static void loop_begin(struct loop *loop)
{
	pthread_mutex_lock(&loop->post_lock);
	loop->runner = pthread_self();
	loop->running = true;
	pthread_mutex_unlock(&loop->post_lock);
}

/* Nobody is left waiting: who comes before `running` falls is served here, who comes later serves himself. */
static void loop_end(struct loop *loop)
{
	bool ended = false;

	while (!ended) {
		loop_serve_waiters(loop);
		pthread_mutex_lock(&loop->post_lock);
		ended = !loop->waiter;
		loop->running = !ended;
		pthread_mutex_unlock(&loop->post_lock);
	}
}

int loop_run(struct loop *loop)
{
	int code = 0;

	loop_begin(loop);
	while (code == 0 && !atomic_load(&loop->stopping))
		code = loop_run_once(loop, -1);
	loop_end(loop);
	if (code < 0)
		return code;
	atomic_store(&loop->stopping, false);
	return atomic_load(&loop->stop_value);
}

void loop_stop(struct loop *loop, int value)
{
	atomic_store(&loop->stop_value, value);
	atomic_store(&loop->stopping, true);
	loop_wake(loop);
}

struct loop_fd *loop_fd_add(struct loop *loop, int fd, uint32_t epoll_events, loop_fd_fn *fn, void *opaque,
			    struct err *err)
{
	struct loop_fd *watch = calloc(1, sizeof(*watch));
	struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

	if (!watch) {
		err_set(err, -ENOMEM, "no memory to watch a descriptor");
		return NULL;
	}
	*watch = (struct loop_fd){.loop = loop, .fn = fn, .opaque = opaque, .fd = fd};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		err_set_errno(err, -errno, "cannot watch descriptor %d", fd);
		free(watch);
		return NULL;
	}
	return watch;
}

int loop_fd_modify(struct loop_fd *watch, uint32_t epoll_events)
{
	struct epoll_event event = {.events = epoll_events, .data.ptr = watch};

	return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void loop_fd_remove(struct loop_fd *watch)
{
	struct loop *loop = watch->loop;

	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	if (!loop->delivering) {
		free(watch);
		return;
	}
	watch->dead = true;
	watch->next_dead = loop->dead;
	loop->dead = watch;
}

static void loop_timer_on_fd(void *opaque, uint32_t epoll_events)
{
	struct loop_timer *timer = opaque;
	uint64_t expirations;

	/* Nothing to read: it was armed anew or disarmed between epoll_wait and now. */
	if (read(timer->fd, &expirations, sizeof(expirations)) != sizeof(expirations))
		return;
	timer->fn(timer->opaque);
}

struct loop_timer *loop_timer_create(struct loop *loop, loop_call_fn *fn, void *opaque, struct err *err)
{
	struct loop_timer *timer = calloc(1, sizeof(*timer));

	if (!timer) {
		err_set(err, -ENOMEM, "no memory for a timer");
		return NULL;
	}
	timer->fn = fn;
	timer->opaque = opaque;
	timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->fd < 0) {
		err_set_errno(err, -errno, "timerfd_create");
		free(timer);
		return NULL;
	}
	timer->watch = loop_fd_add(loop, timer->fd, EPOLLIN, loop_timer_on_fd, timer, err);
	if (!timer->watch) {
		close(timer->fd);
		free(timer);
		return NULL;
	}
	return timer;
}

void loop_timer_arm(struct loop_timer *timer, uint64_t deadline_ns)
{
	struct itimerspec when = {0};

	if (deadline_ns != UINT64_MAX) {
		when.it_value.tv_sec = (time_t)(deadline_ns / NS_PER_S);
		when.it_value.tv_nsec = (long)(deadline_ns % NS_PER_S);
		if (deadline_ns == 0)
			when.it_value.tv_nsec = 1; /* zero would disarm */
	}
	timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

void loop_timer_destroy(struct loop_timer *timer)
{
	if (!timer)
		return;
	/* The watch is dead from here on: a pending event of this batch does not reach the timer any more. */
	loop_fd_remove(timer->watch);
	close(timer->fd);
	free(timer);
}

int loop_post(struct loop *loop, loop_call_fn *fn, void *opaque)
{
	int code = 0;

	pthread_mutex_lock(&loop->post_lock);
	if (loop->post_count == LOOP_POST_MAX) {
		code = -EAGAIN;
	} else {
		loop->post[(loop->post_head + loop->post_count) % LOOP_POST_MAX] =
			(struct loop_call){.fn = fn, .opaque = opaque};
		loop->post_count++;
	}
	pthread_mutex_unlock(&loop->post_lock);
	loop_wake(loop);
	return code;
}

static bool loop_is_mine_locked(const struct loop *loop)
{
	return !loop->running || pthread_equal(loop->runner, pthread_self());
}

bool loop_is_mine(struct loop *loop)
{
	bool mine;

	pthread_mutex_lock(&loop->post_lock);
	mine = loop_is_mine_locked(loop);
	pthread_mutex_unlock(&loop->post_lock);
	return mine;
}

void loop_call(struct loop *loop, loop_call_fn *fn, void *opaque)
{
	struct loop_waiter waiter = {.call = {.fn = fn, .opaque = opaque}};

	pthread_mutex_lock(&loop->post_lock);
	if (loop_is_mine_locked(loop)) {
		pthread_mutex_unlock(&loop->post_lock);
		fn(opaque);
		return;
	}
	waiter.next = loop->waiter;
	loop->waiter = &waiter;
	loop_wake(loop);
	while (!waiter.done)
		pthread_cond_wait(&loop->call_done, &loop->post_lock);
	pthread_mutex_unlock(&loop->post_lock);
}
