/*
 * getaddrinfo for a server under test, put in front of libc's by LD_PRELOAD. The host name says what shall happen:
 *
 *   NAME.stall.test              no answer until the file $SEQUIN_TEST_RELEASES/NAME exists, then 127.0.0.1
 *   NAME.MS.slow.test            after so many milliseconds, 127.0.0.1
 *   A-B-C-D.E-F-G-H.two.test     the addresses A.B.C.D and E.F.G.H, in this order; ipv6.two.test is ::1
 *   NAME.missing.test            no such host
 *
 * Any other name goes to libc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int look_up(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* The part of host before the suffix, or 0. */
static int prefix(char *name, size_t size, const char *host, const char *suffix)
{
	size_t host_length = strlen(host), length = strlen(suffix);

	if (host_length <= length || host_length - length >= size || strcmp(host + host_length - length, suffix) != 0)
		return 0;
	memcpy(name, host, host_length - length);
	name[host_length - length] = '\0';
	return 1;
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
	look_up *libc = (look_up *) dlsym(RTLD_NEXT, "getaddrinfo");
	struct addrinfo numeric = hints ? *hints : (struct addrinfo) {0};
	char name[256];

	numeric.ai_flags |= AI_NUMERICHOST;
	if (host && prefix(name, sizeof name, host, ".stall.test"))
	{
		const char *directory = getenv("SEQUIN_TEST_RELEASES");
		char release[1024];

		snprintf(release, sizeof release, "%s/%s", directory ? directory : "", name);
		while (access(release, F_OK) != 0)
			usleep(2000);
		return libc("127.0.0.1", service, &numeric, result);
	}
	if (host && prefix(name, sizeof name, host, ".slow.test"))
	{
		const char *ms = strrchr(name, '.');

		usleep(1000 * (ms ? atoi(ms + 1) : 0));
		return libc("127.0.0.1", service, &numeric, result);
	}
	if (host && prefix(name, sizeof name, host, ".missing.test"))
		return EAI_NONAME;
	if (host && prefix(name, sizeof name, host, ".two.test"))
	{
		struct addrinfo **next = result;
		char *rest = name, *label;

		*result = NULL;
		while ((label = strsep(&rest, ".")) != NULL)
		{
			int failed;

			for (char *c = label; *c; c++)
				if (*c == '-')
					*c = '.';
			failed = libc(strcmp(label, "ipv6") == 0 ? "::1" : label, service, &numeric, next);
			if (failed)
				return failed;
			next = &(*next)->ai_next;
		}
		return 0;
	}
	return libc(host, service, hints, result);
}
