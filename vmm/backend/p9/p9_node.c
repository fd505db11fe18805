/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of names that the guest has walked. Fids share the nodes, so that a rename of a folder moves all
 * that is open below it by changing one node. Touches no file.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/backend/p9/p9.h"

static size_t p9_node_bucket(const struct p9_node *parent, const char *name)
{
	uint64_t hash = (uintptr_t)parent * 0x9e3779b97f4a7c15ull;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 0x100000001b3ull;
	return (hash ^ hash >> 32) % P9_NODE_BUCKETS;
}

struct p9_node *p9_node_hold(struct p9_server *server, struct p9_node *node)
{
	pthread_mutex_lock(&server->lock);
	node->refs++;
	pthread_mutex_unlock(&server->lock);
	return node;
}

/* server.lock is held. */
static void p9_node_unlink(struct p9_server *server, struct p9_node *node)
{
	struct p9_node **link = &server->node[p9_node_bucket(node->parent, node->name)];

	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
}

/* server.lock is held. */
static void p9_node_link(struct p9_server *server, struct p9_node *node)
{
	struct p9_node **bucket = &server->node[p9_node_bucket(node->parent, node->name)];

	node->next = *bucket;
	*bucket = node;
}

/* Climbs, not recurses: a guest can make the tree deep. server.lock is held. */
static void p9_node_release_locked(struct p9_server *server, struct p9_node *node)
{
	while (node && --node->refs == 0) {
		struct p9_node *parent = node->parent;

		if (parent && !node->gone)
			p9_node_unlink(server, node);
		free(node->name);
		free(node);
		server->node_count--;
		node = parent;
	}
}

void p9_node_release(struct p9_server *server, struct p9_node *node)
{
	pthread_mutex_lock(&server->lock);
	p9_node_release_locked(server, node);
	pthread_mutex_unlock(&server->lock);
}

/* server.lock is held. */
static struct p9_node *p9_node_find(struct p9_server *server, const struct p9_node *parent, const char *name)
{
	struct p9_node *node = server->node[p9_node_bucket(parent, name)];

	while (node && (node->parent != parent || strcmp(node->name, name) != 0))
		node = node->next;
	return node;
}

static struct p9_node *p9_node_new(struct p9_server *server, struct p9_node *parent, const char *name)
{
	struct p9_node *node;

	if (server->node_count == P9_NODES_MAX)
		return NULL;
	node = calloc(1, sizeof(*node));
	if (node)
		node->name = strdup(name);
	if (!node || !node->name) {
		free(node);
		return NULL;
	}
	parent->refs++;
	node->parent = parent;
	server->node_count++;
	p9_node_link(server, node);
	return node;
}

struct p9_node *p9_node_child(struct p9_server *server, struct p9_node *parent, const char *name)
{
	struct p9_node *node;

	pthread_mutex_lock(&server->lock);
	node = p9_node_find(server, parent, name);
	if (!node)
		node = p9_node_new(server, parent, name);
	if (node)
		node->refs++;
	pthread_mutex_unlock(&server->lock);
	return node;
}

/* server.lock is held. */
static void p9_node_set_gone(struct p9_server *server, struct p9_node *node)
{
	if (!node || node->gone)
		return;
	p9_node_unlink(server, node);
	node->gone = true;
}

void p9_node_forget(struct p9_server *server, struct p9_node *parent, const char *name)
{
	pthread_mutex_lock(&server->lock);
	p9_node_set_gone(server, p9_node_find(server, parent, name));
	pthread_mutex_unlock(&server->lock);
}

/* Whether node is above `below`, or the same. */
static bool p9_node_is_above(const struct p9_node *node, const struct p9_node *below)
{
	while (below && below != node)
		below = below->parent;
	return below != NULL;
}

void p9_node_moved(struct p9_server *server, struct p9_node_move *move)
{
	struct p9_node *node, *target, *old_parent = NULL;

	pthread_mutex_lock(&server->lock);
	node = p9_node_find(server, move->from, move->from_name);
	target = p9_node_find(server, move->to, move->to_name);
	if (target != node)
		p9_node_set_gone(server, target);
	/* The host cannot move a folder into itself, but another process may have moved both in between. */
	if (node && p9_node_is_above(node, move->to)) {
		p9_node_set_gone(server, node);
	} else if (node) {
		p9_node_unlink(server, node);
		free(node->name);
		node->name = move->kept_name;
		move->kept_name = NULL;
		old_parent = node->parent;
		node->parent = move->to;
		move->to->refs++;
		p9_node_link(server, node);
	}
	p9_node_release_locked(server, old_parent);
	pthread_mutex_unlock(&server->lock);
}
