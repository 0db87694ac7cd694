/** Test fixture: settings of postscreen and greylisting, with overrides. Used by *.test.ts only. */
import type { GreylistingSettings, PostscreenSettings } from "../config/postscreen.ts";
import type { SharedState } from "../session/shared-state.ts";

type Overrides = Partial<Omit<PostscreenSettings, "dnsbl">> & { readonly dnsbl?: Partial<PostscreenSettings["dnsbl"]> };

export const aPostscreen = ({ dnsbl, ...settings }: Overrides = {}): PostscreenSettings => ({
  greetWaitMs: 40,
  greetAction: "Enforce",
  deepTests: {},
  access: [],
  accessAction: "Enforce",
  cacheMs: {
    preGreet: 86_400_000,
    dnsbl: 3_600_000,
    pipelining: 86_400_000,
    nonSmtpCommand: 86_400_000,
    bareNewline: 86_400_000,
  },
  ...settings,
  dnsbl: { sites: [], threshold: 1, allowlistThreshold: 0, action: "Enforce", timeoutMs: 2000, ...dnsbl },
});

export const aGreylisting = (
  settings: Partial<Omit<GreylistingSettings, "exempt">> & {
    readonly exempt?: Partial<GreylistingSettings["exempt"]>;
  } = {},
): GreylistingSettings => ({
  delayMs: 300_000,
  retryWindowMs: 172_800_000,
  expireMs: 3_024_000_000,
  autoAllowAfter: 5,
  ipv4Prefix: 24,
  ipv6Prefix: 64,
  ...settings,
  exempt: { networks: [], clientDomains: [], recipients: [], ...settings.exempt },
});

/** Whatever it is asked, it does not answer. */
export const deadSharedState = new Proxy({} as SharedState, {
  get: () => (): Promise<never> => Promise.reject(new Error("no primary")),
});
