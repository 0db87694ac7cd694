/**
 * What clients go through: MailServer.spec.postscreen, .restrictions.dnsbl and .greylisting → their parts of `server.json`.
 *
 * Stands in build/, pure. An entry that cannot be read is said and left out: a list that is not asked refuses nobody.
 */
import { addressKey } from "../../server/config/address.ts";
import type { DnsblRule, GreylistingSettings, PostscreenSettings } from "../../server/config/postscreen.ts";
import { parseReplyFilter } from "../../server/config/reply-filter.ts";
import { networkKey } from "./access-rules.ts";
import type { Context } from "./context.ts";
import { tableDomain } from "./keys.ts";
import { durationMs } from "./quantities.ts";
import { objectKey } from "./world.ts";

/** Clients wait five minutes for a greeting (RFC 5321 §4.5.3.2.1); nobody should need to. */
const LONGEST_WAIT_MS = 60_000;

/** Says what is wrong; the field is named from `spec.` on. */
const complainer =
  ({ world, findings }: Context) =>
  (text: string, field: string, advice: string): void =>
    findings.refuse(objectKey(world.server), "Invalid", `"${text}" in spec.${field} ${advice}`);

interface WrittenList {
  readonly zone: string;
  readonly shownAs?: string | undefined;
  readonly filter?: string | undefined;
}

function listOf(context: Context, written: WrittenList, field: string): WrittenList | undefined {
  const complain = complainer(context);
  const zone = tableDomain(written.zone);
  if (zone === undefined) {
    complain(written.zone, `${field}.zone`, "is not a domain; correct it. Until then this list is not asked.");
    return undefined;
  }
  if (written.filter !== undefined && parseReplyFilter(written.filter) === undefined) {
    complain(
      written.filter,
      `${field}.filter`,
      "is not an address pattern; write four fields, each a number up to 255 or ranges in brackets, such as 127.0.0.[2..11]. Until then this list is not asked.",
    );
    return undefined;
  }
  const shownAs = written.shownAs === undefined ? undefined : tableDomain(written.shownAs);
  if (written.shownAs !== undefined && shownAs === undefined) {
    complain(written.shownAs, `${field}.shownAs`, "is not a domain; correct it. Until then this list is not asked.");
    return undefined;
  }
  return {
    zone,
    ...(shownAs === undefined ? {} : { shownAs }),
    ...(written.filter === undefined ? {} : { filter: written.filter }),
  };
}

export function postscreenOf(context: Context): { readonly postscreen?: PostscreenSettings } {
  const { spec } = context.world.server;
  const written = spec.postscreen;
  if (written === undefined) return {};
  const complain = complainer(context);
  const waited = (text: string, field: string): number => {
    const ms = durationMs(text);
    if (ms > LONGEST_WAIT_MS)
      complain(text, field, "is longer than a minute; shorten it. Until then a minute is used.");
    return Math.min(ms, LONGEST_WAIT_MS);
  };
  const { dnsbl, cache } = written;
  const { pipelining, nonSmtpCommand, bareNewline } = written.deepTests;
  return {
    postscreen: {
      greetWaitMs: waited(written.greetWait, "postscreen.greetWait"),
      greetAction: written.greetAction,
      dnsbl: {
        sites: dnsbl.sites.flatMap((site, place) => {
          const list = listOf(context, site, `postscreen.dnsbl.sites[${place}]`);
          return list === undefined ? [] : [{ ...list, weight: site.weight ?? 1 }];
        }),
        threshold: dnsbl.threshold,
        allowlistThreshold: dnsbl.allowlistThreshold,
        action: dnsbl.action,
        timeoutMs: waited(dnsbl.timeout, "postscreen.dnsbl.timeout"),
      },
      deepTests: {
        ...(pipelining === undefined ? {} : { pipelining }),
        ...(nonSmtpCommand === undefined ? {} : { nonSmtpCommand }),
        ...(bareNewline === undefined ? {} : { bareNewline }),
      },
      access: written.access.flatMap(({ network, action }, place) => {
        const key = networkKey(network);
        if (key === undefined)
          complain(
            network,
            `postscreen.access[${place}].network`,
            "is not a network; write its address and length, such as 192.0.2.0/24.",
          );
        return key === undefined ? [] : [{ network: key, action }];
      }),
      accessAction: written.accessAction,
      cacheMs: {
        preGreet: durationMs(cache.preGreet),
        dnsbl: durationMs(cache.dnsbl),
        pipelining: durationMs(cache.deepTests),
        nonSmtpCommand: durationMs(cache.deepTests),
        bareNewline: durationMs(cache.deepTests),
      },
    },
  };
}

export function dnsblRulesOf(context: Context): { readonly dnsbl?: DnsblRule[] } {
  const written = context.world.server.spec.restrictions.dnsbl;
  if (written.length === 0) return {};
  return {
    dnsbl: written.flatMap((rule, place) => {
      const list = listOf(context, rule, `restrictions.dnsbl[${place}]`);
      if (list === undefined) return [];
      const { kind = "Client", action = "Reject", text } = rule;
      return [{ ...list, kind, action, ...(text === undefined ? {} : { text }) }];
    }),
  };
}

export function greylistingOf(context: Context): { readonly greylisting?: GreylistingSettings } {
  const written = context.world.server.spec.greylisting;
  if (written === undefined) return {};
  const complain = complainer(context);
  const [delayMs, retryWindowMs] = [durationMs(written.delay), durationMs(written.retryWindow)];
  if (retryWindowMs <= delayMs)
    complain(
      written.retryWindow,
      "greylisting.retryWindow",
      "is over before delay is; make it longer. Until then two days more are given.",
    );
  const usable = (
    list: readonly string[],
    field: string,
    read: (text: string) => string | undefined,
    advice: string,
  ): string[] => {
    const keys = list.flatMap((text, place) => {
      const key = read(text);
      if (key === undefined) complain(text, `greylisting.exempt.${field}[${place}]`, advice);
      return key === undefined ? [] : [key];
    });
    return [...new Set(keys)].sort();
  };
  return {
    greylisting: {
      delayMs,
      retryWindowMs: retryWindowMs > delayMs ? retryWindowMs : delayMs + 2 * 86_400_000,
      expireMs: durationMs(written.expire),
      autoAllowAfter: written.autoAllowAfter,
      ipv4Prefix: written.ipv4Prefix,
      ipv6Prefix: written.ipv6Prefix,
      exempt: {
        networks: usable(
          written.exempt.networks,
          "networks",
          networkKey,
          "is not a network; write its address and length, such as 192.0.2.0/24.",
        ),
        clientDomains: usable(
          written.exempt.clientDomains,
          "clientDomains",
          tableDomain,
          "is not a domain; correct it.",
        ),
        recipients: usable(
          written.exempt.recipients,
          "recipients",
          (text) => {
            if (!text.startsWith("@")) return addressKey(text);
            const domain = tableDomain(text.slice(1));
            return domain === undefined ? undefined : `@${domain}`;
          },
          "is not an address or @domain; correct it.",
        ),
      },
    },
  };
}
