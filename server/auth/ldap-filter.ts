/**
 * LDAP filter templates: `%s`, `%u` and `%d` filled in so that a login name can only ever be a value.
 *
 * Pure. Whatever is not a plain printable ASCII character, and what means something in a filter, becomes `\hh`. RFC 4515 §3; the letters are those of Postfix's
 * ldap_table(5).
 */
const plain = /^[A-Za-z0-9@._+-]$/;

export function escapeFilterValue(text: string): string {
  let escaped = "";
  for (const character of text) {
    if (plain.test(character)) escaped += character;
    else for (const octet of Buffer.from(character, "utf8")) escaped += `\\${octet.toString(16).padStart(2, "0")}`;
  }
  return escaped;
}

/** `%s` the login name, `%u` what is before its last `@`, `%d` what is behind it, `%%` a percent sign; anything else stays. */
export function fillFilter(template: string, login: string): string {
  const at = login.lastIndexOf("@");
  const values: Readonly<Record<string, string>> = {
    s: login,
    u: at < 0 ? login : login.slice(0, at),
    d: at < 0 ? "" : login.slice(at + 1),
  };
  return template.replaceAll(/%([sud%])/g, (_, letter: string) =>
    letter === "%" ? "%" : escapeFilterValue(values[letter] ?? ""),
  );
}
