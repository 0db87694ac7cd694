/**
 * Shared state: the Secret that MailServer.spec.sharedState names → its place in secret slice 00. Stands in build/, pure.
 *
 * A Secret that cannot be used is said and left out: each pod counts for itself then, and mail flows.
 */
import type { SharedStateEndpoint } from "../../server/config/limits.ts";
import { type SecretText, readAuthority } from "./certificates.ts";
import type { Context } from "./context.ts";
import { secretKey } from "./references.ts";
import type { Refusal } from "./verdict.ts";
import { objectKey } from "./world.ts";

const schemes = new Set(["redis:", "rediss:"]);

/** What one key of a Secret holds, without the newline that editors leave. */
const value = (text: SecretText, key: string): string | undefined => {
  const found = text.get(key)?.replace(/\r?\n$/, "");
  return found === "" ? undefined : found;
};

type Read = SharedStateEndpoint | Refusal;

function read(key: string, text: SecretText | undefined): Read {
  if (text === undefined)
    return {
      reason: "SecretNotFound",
      message: `Secret ${key} does not exist; create it with the key url, such as redis://redis.example:6379/0.`,
    };
  const invalid = (message: string): Refusal => ({ reason: "SecretInvalid", message: `Secret ${key} ${message}` });
  const url = value(text, "url") ?? "";
  const parsed = url.length > 1024 ? null : URL.parse(url);
  // The URL itself is never repeated: it may hold a password.
  if (parsed === null || !schemes.has(parsed.protocol) || parsed.hostname === "")
    return invalid("needs the key url with redis://host:port/number or rediss://host:port/number.");
  const [username, password] = [value(text, "username"), value(text, "password")];
  const isUsable = (given: string | undefined, most: number): boolean =>
    given === undefined || (given.length <= most && !/[\0\uFFFD]/.test(given));
  if (!isUsable(username, 512) || !isUsable(password, 1024))
    return invalid("has a username (at most 512 characters) or password (at most 1024) that is not text.");
  if (!text.has("ca.crt")) return endpoint({ url, username, password, authority: undefined });
  const authority = readAuthority(key, text);
  return authority.ok ? endpoint({ url, username, password, authority: authority.bundle }) : authority;
}

const endpoint = ({
  url,
  ...more
}: {
  readonly url: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly authority: string | undefined;
}): SharedStateEndpoint => ({
  url,
  ...(more.username === undefined ? {} : { username: more.username }),
  ...(more.password === undefined ? {} : { password: more.password }),
  ...(more.authority === undefined ? {} : { authority: more.authority }),
});

export function sharedStateOf({ world, findings, secrets }: Context): { readonly sharedState?: SharedStateEndpoint } {
  const { server } = world;
  if (server.spec.sharedState === undefined) return {};
  const key = secretKey(server, server.spec.sharedState.secretName);
  const found = read(key, secrets.text(key));
  if ("url" in found) return { sharedState: found };
  findings.refuse(objectKey(server), found.reason, `${found.message} Until then each pod counts for itself.`);
  return {};
}
