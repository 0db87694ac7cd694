/**
 * Delegation: the policy services of the configuration, asked by name, answered as actions.
 *
 * Between the checks of policy/ and the daemons. One for a shard; `apply` follows the configuration and keeps the connections of services that did not change. Whatever goes
 * wrong with a daemon (dead, silent, nonsense, an action this server does not know) becomes the default action of the service, is counted, and is said in the log once, not for
 * each message. Never throws. SMTPD_POLICY_README, access(5).
 */
import type { PolicyService } from "../config/policy-services.ts";
import type { LiveConfig } from "../config/schema.ts";
import type { Log } from "../observe/log.ts";
import { policyServiceAnswers, policyServiceSeconds } from "../observe/metrics.ts";
import { parseAction } from "../policy/action.ts";
import { defer, type Verdict } from "../policy/verdict.ts";
import { replies } from "../session/replies.ts";
import { type PolicyAttributes, requestText } from "./attributes.ts";
import { Service, type ServiceAnswer } from "./service.ts";

/** Ask a service about something. */
export type Delegate = (service: PolicyService, attributes: PolicyAttributes) => Promise<Verdict>;

type Trouble = Exclude<ServiceAnswer, { kind: "answer" }>;

export class Delegation {
  readonly #log: Log;
  readonly #services = new Map<string, Service>();
  /** Services that are in trouble, and of which kind: said once. */
  readonly #troubled = new Map<string, Trouble["kind"]>();

  constructor(log: Log) {
    this.#log = log;
  }

  apply({ server }: Pick<LiveConfig, "server">): void {
    const wanted = new Map(server.policyServices.map((settings) => [settings.name, settings]));
    for (const [name, service] of this.#services) {
      const settings = wanted.get(name);
      if (settings !== undefined && service.isFor(settings)) continue;
      service.close();
      this.#services.delete(name);
      this.#troubled.delete(name);
    }
  }

  readonly ask: Delegate = async (settings, attributes) => {
    const { name } = settings;
    let service = this.#services.get(name);
    if (service === undefined || !service.isFor(settings)) {
      service?.close();
      service = new Service(settings);
      this.#services.set(name, service);
    }
    const startedMs = performance.now();
    const answer = await service.ask(requestText(attributes));
    policyServiceSeconds.observe({ service: name }, (performance.now() - startedMs) / 1000);
    if (answer.kind !== "answer") return this.#instead(settings, answer);
    const action = parseAction(answer.action, "policy-service");
    if (!action.ok) return this.#instead(settings, { kind: "unreadable", why: action.error });
    policyServiceAnswers.inc({ service: name, result: "answered" });
    if (this.#troubled.delete(name)) this.#log.info({ service: name }, "policy-service-recovered");
    if (action.value.kind === "effect" || action.value.kind === "discard") {
      const { client_address: client, sender: from, recipient: to } = attributes;
      this.#log.info(
        { service: name, action: answer.action.slice(0, 1000), client, from, to },
        "policy-service-action",
      );
    }
    return action.value;
  };

  close(): void {
    for (const service of this.#services.values()) service.close();
    this.#services.clear();
  }

  #instead({ name, defaultAction }: PolicyService, { kind, why }: Trouble): Verdict {
    policyServiceAnswers.inc({ service: name, result: kind === "failed" ? "unavailable" : "unreadable" });
    if (this.#troubled.get(name) !== kind) {
      this.#troubled.set(name, kind);
      this.#log.warn({ service: name, why, defaultAction }, "policy-service-failed");
    }
    const action = parseAction(defaultAction, "policy-service-failed");
    // The operator has read it; should it be wrong all the same, the client comes again.
    return action.ok ? action.value : defer("policy-service-failed", replies.policyServiceFailed);
  }
}
