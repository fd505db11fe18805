/* SPDX-License-Identifier: Apache-2.0 */
/* Output by lines. The timer is armed by the first byte that waits, and may find that the line has gone
 * meanwhile. */
#include "vmm/backend/char_gather.h"

#include <string.h>

#include "vmm/base/clock.h"
#include "vmm/base/err.h"
#include "vmm/base/loop.h"

static void char_gather_empty(struct char_gather *gather)
{
	if (gather->count)
		char_output_write(&gather->output, gather->bytes, gather->count);
	gather->count = 0;
}

void char_gather_flush(struct char_gather *gather)
{
	pthread_mutex_lock(&gather->lock);
	char_gather_empty(gather);
	pthread_mutex_unlock(&gather->lock);
}

static void char_gather_expire(void *opaque)
{
	char_gather_flush(opaque);
}

int char_gather_start(struct char_gather *gather, struct loop *loop, struct err *err)
{
	pthread_mutex_init(&gather->lock, NULL);
	gather->timer = loop_timer_create(loop, char_gather_expire, gather, err);
	return gather->timer ? 0 : err_prefix(err, "output timer");
}

void char_gather_stop(struct char_gather *gather)
{
	if (!gather->timer)
		return;
	loop_timer_destroy(gather->timer);
	gather->timer = NULL;
	char_gather_flush(gather);
	pthread_mutex_destroy(&gather->lock);
}

size_t char_gather_write(struct char_gather *gather, const uint8_t *data, size_t len)
{
	pthread_mutex_lock(&gather->lock);
	if (len > sizeof(gather->bytes) - gather->count)
		char_gather_empty(gather);
	if (len > sizeof(gather->bytes)) {
		char_output_write(&gather->output, data, len);
	} else if (len) {
		if (!gather->count)
			loop_timer_arm(gather->timer,
				       clock_monotonic_ns() + CHAR_GATHER_DELAY_MS * NS_PER_MS);
		memcpy(gather->bytes + gather->count, data, len);
		gather->count += len;
		if (data[len - 1] == '\n' || gather->count == sizeof(gather->bytes))
			char_gather_empty(gather);
	}
	pthread_mutex_unlock(&gather->lock);
	return len;
}
