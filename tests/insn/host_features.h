/* SPDX-License-Identifier: Apache-2.0 */
/* The host's CPUID feature words, in the order of tcg-fallback/x86/feature.h. */
#pragma once

#include <stdint.h>

#include "tcg-fallback/x86/feature.h"

/* The host's XCR0; 0: none. */
uint64_t host_xcr0(void);

/* Where a component lies in the host's XSAVE area, standard format. */
uint32_t host_xstate_offset(unsigned component);

void host_features(uint32_t feature[X86_FEATURE_WORDS]);
