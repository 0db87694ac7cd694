/** The fifth reference setup: a smarthost that asks the server inside who exists, and rewrites a test domain; examples/from-postfix/004 against the main.cf of the text, without its filters. */
import { type Nsd, nsdMissing } from "../../peers/nsd.ts";
import { type Pair, serverTls } from "../battery/pair.ts";
import { relayForms } from "../battery/pairs/relay-forms.ts";
import { here, manifestsOf, without } from "../examples.ts";
import { from, inside, known, letter, letters, startDns, VICTIM } from "../world.ts";

let dns: Nsd;

export const seed004: Pair = {
  name: "004",
  title: "smarthost, from the seed's text",
  missing: () => nsdMissing(),
  peers: { dns: async () => (dns = await startDns()) },
  nameserver: () => dns.address,
  postfix: ({ sink }) => ({
    files: {
      aliases:
        "root@smarthost.example.com admin@example.com\npostmaster@smarthost.example.com admin@example.com\nabuse@smarthost.example.com admin@example.com\n",
      canonical: "/^(.*@)test\\.example\\.com$/     ${1}example.com\n",
      relocated: "olduser@example.com newuser@example.net\n",
      transport: `example.com smtp:[127.0.0.1]:${sink}\n`,
    },
    // mydestination without Unix users: the machine's own accounts are aliases. The server inside takes everybody, so that verification says yes.
    main: `mydomain = example.com
myhostname = smarthost.example.com
myorigin = $myhostname
mynetworks = ${inside.address}/32
virtual_alias_domains = smarthost.example.com
virtual_alias_maps = texthash:\${config_directory}/aliases
relay_domains = example.com, test.example.com
relocated_maps = texthash:\${config_directory}/relocated
transport_maps = texthash:\${config_directory}/transport
canonical_classes = envelope_recipient, header_recipient
canonical_maps = regexp:\${config_directory}/canonical
${serverTls}address_verify_poll_delay = 1s
smtpd_sender_restrictions = reject_unknown_sender_domain
smtpd_data_restrictions = reject_unauth_pipelining
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, reject_unknown_recipient_domain, reject_unverified_recipient
`,
  }),
  packetboat: ({ sink }) =>
    manifestsOf("004", { sink }, ({ kind, spec }) => {
      if (kind !== "MailServer") return spec;
      const restrictions = spec["restrictions"] as { readonly recipient: readonly string[] };
      return {
        ...here(without(spec, "postscreen", "greylisting", "policyServices"), { sink }, dns.resolver),
        networks: { trusted: [`${inside.address}/32`] },
        // postscreen, greylisting and the policy daemon have tests of their own against real peers.
        restrictions: {
          ...restrictions,
          recipient: restrictions.recipient.filter((check) => !check.startsWith("CheckPolicyService")),
        },
      };
    }),
  dialogues: [
    ...from(known, "relay", letters(relayForms("example.com", "foreign.example"))),
    ...from(
      known,
      "to",
      letters({
        verified: "<alice@example.com>",
        "verified-again": "<alice@example.com>",
        "test-domain": "<alice@test.example.com>",
        "test-domain-capitals": "<Alice@TEST.example.com>",
        relocated: "<olduser@example.com>",
        "own-root": "<root@smarthost.example.com>",
        "own-abuse": "<abuse@smarthost.example.com>",
        "own-unknown": "<nobody@smarthost.example.com>",
        postmaster: "<postmaster>",
        missing: "<x@nowhere.test>",
        several: ["<alice@example.com>", "<alice@test.example.com>", "<root@smarthost.example.com>"],
        foreign: `<${VICTIM}>`,
      }),
    ),
    ...from(
      known,
      "sender",
      Object.fromEntries(
        Object.entries({
          missing: "<x@nowhere.test>",
          "null-mx": "<x@null.client.test>",
          "a-only": "<x@aonly.client.test>",
          null: "<>",
          literal: "<x@[127.0.0.1]>",
          ours: "<alice@example.com>",
          "test-domain": "<alice@test.example.com>",
        }).map(([name, sender]) => [name, letter("<alice@example.com>", { from: sender })]),
      ),
    ),
    ...from(inside, "inside", {
      relays: letter(`<${VICTIM}>`),
      "sender-missing": letter(`<${VICTIM}>`, { from: "<x@nowhere.test>" }),
      "recipient-missing": letter("<x@nowhere.test>"),
      "test-domain": letter("<alice@test.example.com>"),
      "own-root": letter("<root@smarthost.example.com>"),
      "sender-incomplete": letter(`<${VICTIM}>`, { from: "<cron>" }),
      "recipient-incomplete": letter("<root>"),
    }),
  ],
};
