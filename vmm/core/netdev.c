/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Choosing and checking a network backend. Knows the kinds only through netdev_table.
 * Which keys a kind takes is data of its class; the rows are netdev_options (netdev_options.c).
 */
#include "vmm/core/netdev.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "vmm/base/err.h"
#include "vmm/base/rate_limit.h"
#include "vmm/base/text.h"

/* Keys that every backend takes. */
static const char *const netdev_common_keys[] = {"backend",
						 "id",
						 "mac",
						 "mtu",
						 "rx_bps",
						 "tx_bps",
						 "rx_pps",
						 "tx_pps",
						 "pcap",
						 "service",
						 "rx_byte_bucket",
						 "rx_frame_bucket",
						 "tx_byte_bucket",
						 "tx_frame_bucket",
						 NULL};

static const struct netdev_class *netdev_find(const char *name, struct err *err)
{
	char kinds[160] = "";

	for (size_t i = 0; netdev_table[i]; i++) {
		if (name && strcmp(netdev_table[i]->name, name) == 0)
			return netdev_table[i];
		text_append(kinds, sizeof(kinds), "%s%s", i > 0 ? ", " : "", netdev_table[i]->name);
	}
	err_set(err, -EINVAL, "\"%s\" is not known: there are %s", name ? name : "", kinds);
	return NULL;
}

static bool netdev_is_key_of(const char *key, const char *const *keys)
{
	for (; *keys; keys++) {
		if (strcmp(*keys, key) == 0)
			return true;
	}
	return false;
}

static bool netdev_is_set(const struct option *row, const struct netdev_config *config)
{
	const void *field = (const char *)config + row->offset;

	switch (row->type) {
	case OPTION_STRING:
	case OPTION_PATH: return *(char *const *)field != NULL;
	case OPTION_BOOL: return *(const bool *)field;
	case OPTION_UINT:
	case OPTION_CHOICE: return *(const uint32_t *)field != 0;
	case OPTION_SIZE: return *(const uint64_t *)field != 0;
	case OPTION_STRINGS: return ((const struct option_strings *)field)->count > 0;
	case OPTION_RECORDS: return ((const struct option_records *)field)->count > 0;
	}
	return false;
}

static int netdev_check_buckets(const struct netdev_config *config, struct err *err)
{
	const char *const text[] = {config->rx_byte_bucket, config->rx_frame_bucket, config->tx_byte_bucket,
				    config->tx_frame_bucket};
	struct rate_bucket_config bucket;

	for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		if (rate_bucket_parse(text[i], &bucket, err) < 0)
			return err_prefix(err, "bucket");
	}
	return 0;
}

int netdev_config_check(const struct netdev_config *config, struct err *err)
{
	const struct netdev_class *class = netdev_find(config->backend, err);
	uint8_t mac[NETDEV_MAC_SIZE];

	if (!class)
		return -EINVAL;
	for (const struct option *row = netdev_options; row->path; row++) {
		if (netdev_is_set(row, config) && !netdev_is_key_of(row->path, netdev_common_keys) &&
		    !netdev_is_key_of(row->path, class->keys))
			return err_set(err, -EINVAL, "%s: the backend %s has no such setting", row->path,
				       class->name);
	}
	if (config->mtu && config->mtu < NETDEV_MTU_MIN)
		return err_set(err, -ERANGE, "mtu: %u is less than %d", config->mtu, NETDEV_MTU_MIN);
	if (netdev_check_buckets(config, err) < 0)
		return -EINVAL;
	if (config->mac && netdev_mac_parse(config->mac, mac, err) < 0)
		return err_prefix(err, "mac");
	return 0;
}

int netdev_mac_parse(const char *text, uint8_t mac[NETDEV_MAC_SIZE], struct err *err)
{
	unsigned byte[NETDEV_MAC_SIZE];
	int end = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &byte[0], &byte[1], &byte[2], &byte[3], &byte[4],
		   &byte[5], &end) != NETDEV_MAC_SIZE ||
	    text[end] || strlen(text) != 17 || strspn(text, "0123456789abcdefABCDEF:") != 17)
		return err_set(err, -EINVAL, "\"%s\" is no MAC address, such as 02:00:00:12:34:56", text);
	if (byte[0] & 1)
		return err_set(err, -EINVAL, "%s is a group's address: the first byte must be even", text);
	for (size_t i = 0; i < NETDEV_MAC_SIZE; i++)
		mac[i] = (uint8_t)byte[i];
	return 0;
}

void netdev_mac_print(const uint8_t mac[NETDEV_MAC_SIZE], char text[NETDEV_MAC_TEXT_SIZE])
{
	snprintf(text, NETDEV_MAC_TEXT_SIZE, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		 mac[4], mac[5]);
}

int netdev_mac_random(uint8_t mac[NETDEV_MAC_SIZE], struct err *err)
{
	if (getrandom(mac, NETDEV_MAC_SIZE, 0) != NETDEV_MAC_SIZE)
		return err_set_errno(err, -errno, "no random bytes for a MAC address");
	mac[0] = (uint8_t)((mac[0] & ~1u) | 2u); /* IEEE 802, 8.2: individual, locally administered */
	return 0;
}

/* Puts the wrappers round *netdev; on failure what was made so far is left in *netdev. */
static int netdev_wrap(struct netdev **netdev, const struct netdev_env *env,
		       const struct netdev_config *config, struct err *err)
{
	for (size_t i = 0; netdev_wrappers[i]; i++) {
		struct netdev *outer = netdev_wrappers[i](*netdev, env, config, err);

		if (!outer)
			return err && err->code ? err->code : -ENOMEM;
		*netdev = outer;
	}
	return 0;
}

struct netdev *netdev_open(const struct netdev_env *env, const struct netdev_config *config, struct err *err)
{
	const struct netdev_class *class = netdev_find(config->backend, err);
	struct netdev *netdev;

	if (!class || netdev_config_check(config, err) < 0)
		return NULL;
	netdev = class->create(env, config, err);
	if (!netdev)
		return NULL;
	if (netdev_wrap(&netdev, env, config, err) == 0)
		return netdev;
	netdev_destroy(netdev);
	return NULL;
}
