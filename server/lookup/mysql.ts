/**
 * MySQL and MariaDB: the queries of one source over a few kept connections to the first host that is up.
 *
 * Prepared statements only (sql-query.ts). A statement runs at most `timeoutMs`, also on the server; rows are bounded there. What a host says wrong about one query is that question's
 * trouble; a lost or refused connection is the host's, and the next one is asked (failover.ts). Throws LookupUnavailable.
 */
import { connect as dial, isIP } from "node:net";
import type { Pool, PoolConnection, PoolOptions, RowDataPacket } from "mysql2/promise";
import type { Endpoint, MysqlQuery, MysqlSource } from "../config/lookups.ts";
import { parseQuery, queryParameters, type SqlQuery } from "../config/sql-query.ts";
import { AnswerShape } from "./answer.ts";
import { type Failover, type FailureKind, type Host, HostDown } from "./failover.ts";
import { type Lookup, LookupUnavailable } from "./lookup.ts";
import {
  createSource,
  endpointName,
  type Source,
  type SourceEvents,
  type SourceSecrets,
  TimedOut,
  withTimeout,
} from "./source.ts";

/** Questions that wait for a connection to one host; more than these are refused at once, temporarily. */
const MAX_WAITING = 1000;
/** Octets of one value. */
const MAX_VALUE = 65_536;

/** Errors of the server about itself, not about the question. */
const hostErrors = new Set([
  "ER_CON_COUNT_ERROR",
  "ER_TOO_MANY_USER_CONNECTIONS",
  "ER_USER_LIMIT_REACHED",
  "ER_SERVER_SHUTDOWN",
  "ER_NORMAL_SHUTDOWN",
  "ER_ACCESS_DENIED_ERROR",
  "ER_DBACCESS_DENIED_ERROR",
  "ER_BAD_DB_ERROR",
  "ER_HOST_IS_BLOCKED",
  "ER_HOST_NOT_PRIVILEGED",
  "ER_CONNECTION_KILLED",
  "ER_UNKNOWN_STMT_HANDLER",
  "ER_NEED_REPREPARE",
  "ER_MAX_PREPARED_STMT_COUNT_REACHED",
]);

/** MariaDB's own number for what MySQL calls ER_QUERY_TIMEOUT: the driver has no name for it. */
const STATEMENT_TIMEOUT = 1969;

function codeOf(cause: unknown): string {
  if (typeof cause !== "object" || cause === null) return "";
  if ("errno" in cause && cause.errno === STATEMENT_TIMEOUT) return "ER_STATEMENT_TIMEOUT";
  return "code" in cause && typeof cause.code === "string" ? cause.code : "";
}

function kindOf(cause: unknown): FailureKind {
  if (cause instanceof HostDown) return "host";
  if (cause instanceof LookupUnavailable) return cause.scope === "source" ? "host" : "question";
  // Slow is not gone; whether it is gone, its probe tells.
  if (cause instanceof TimedOut) return "question";
  const code = codeOf(cause);
  // The server answered with an error packet: it is there.
  return code.startsWith("ER_") && !hostErrors.has(code) ? "question" : "host";
}

/** Errors about the statement's own text, which holds no key. */
const statementErrors = new Set(["ER_PARSE_ERROR", "ER_NO_SUCH_TABLE", "ER_BAD_FIELD_ERROR", "ER_SP_DOES_NOT_EXIST"]);

/** Otherwise codes only: a server's own message may quote values, and access errors name the user. */
function safeReason(cause: unknown): string {
  if (cause instanceof HostDown) return safeReason(cause.cause);
  if (cause instanceof LookupUnavailable) return cause.message.slice(cause.lookup.length + 2);
  if (cause instanceof TimedOut) return cause.message;
  const code = codeOf(cause);
  if (statementErrors.has(code) && cause instanceof Error) return `${code}: ${cause.message.slice(0, 300)}`;
  return code || (cause instanceof Error ? cause.name : "failed");
}

let loading: Promise<typeof import("mysql2/promise")> | undefined;
/** Loaded by those who use it: the package costs memory in every shard. Waited for before any clock runs, or reading it would look like a slow host. */
const driver = (): Promise<typeof import("mysql2/promise")> => (loading ??= import("mysql2/promise"));

class MysqlHost implements Host {
  readonly name: string;
  readonly #options: PoolOptions;
  readonly #setUp: readonly string[];
  readonly #connectTimeoutMs: number;
  readonly #timeoutMs: number;
  #pool: Promise<Pool> | undefined;
  readonly #ready = new WeakSet<object>();

  constructor(source: MysqlSource, endpoint: Endpoint, secrets: SourceSecrets) {
    this.name = endpointName(endpoint);
    this.#connectTimeoutMs = source.connectTimeoutMs;
    this.#timeoutMs = source.timeoutMs;
    const { username = "", password = "" } = secrets.credentials ?? {};
    const most = Math.max(0, ...Object.values(source.queries).map(({ expansionLimit }) => expansionLimit));
    this.#setUp = [
      // One more than may be: enough to see that there are too many.
      `SET SESSION sql_select_limit = ${most + 1}`,
      // MariaDB counts seconds, MySQL milliseconds; each knows only its own.
      `SET SESSION max_statement_time = ${source.timeoutMs / 1000}`,
      `SET SESSION max_execution_time = ${source.timeoutMs}`,
    ];
    this.#options = {
      user: username,
      password,
      database: source.database,
      connectionLimit: source.connections,
      maxIdle: source.connections,
      idleTimeout: 60_000,
      queueLimit: MAX_WAITING,
      connectTimeout: source.connectTimeoutMs,
      enableKeepAlive: true,
      keepAliveInitialDelay: 10_000,
      charset: "utf8mb4",
      // Everything as text: numbers beyond 2^53, dates and JSON are values like others.
      supportBigNumbers: true,
      bigNumberStrings: true,
      dateStrings: true,
      jsonStrings: true,
      rowsAsArray: true,
      maxPreparedStatements: 64,
      multipleStatements: false,
      // A stack for each question, in case it fails, costs more than asking it; its failure is told by code.
      trace: false,
      ...("path" in endpoint ? { socketPath: endpoint.path } : this.#network(source, endpoint, secrets)),
    };
  }

  #network(source: MysqlSource, { host, port }: { host: string; port: number }, secrets: SourceSecrets): PoolOptions {
    if (source.tls === undefined) return { host, port };
    const serverName = source.tls.serverName ?? host;
    if (isIP(serverName) !== 0)
      throw new LookupUnavailable(source.name, "source", `TLS to ${host} needs tls.serverName: a name to verify`);
    return {
      // mysql2 verifies the name it believes to have dialled; where to dial is our own.
      host: serverName,
      port,
      stream: () => {
        const socket = dial({ host, port, noDelay: true });
        socket.setKeepAlive(true, 10_000);
        return socket;
      },
      ssl: {
        verifyIdentity: true,
        rejectUnauthorized: true,
        minVersion: "TLSv1.2",
        ...(secrets.authority === undefined ? {} : { ca: secrets.authority }),
        ...(secrets.clientCertificate === undefined
          ? {}
          : { cert: secrets.clientCertificate.certificate, key: secrets.clientCertificate.privateKey }),
      },
    };
  }

  async #connection(): Promise<PoolConnection> {
    this.#pool ??= driver().then(({ createPool }) => createPool(this.#options));
    const pool = await this.#pool;
    const asked = pool.getConnection();
    let connection: PoolConnection;
    try {
      connection = await withTimeout(asked, this.#timeoutMs, "no connection in time");
    } catch (cause) {
      // It may come later; nobody waits for it then.
      asked.then(
        (late) => late.release(),
        () => undefined,
      );
      throw cause;
    }
    if (!this.#ready.has(connection.connection)) {
      for (const statement of this.#setUp)
        await withTimeout(connection.query(statement), this.#timeoutMs, "no answer in time").catch((cause: unknown) => {
          // A variable that this server does not have.
          if (kindOf(cause) === "question" && !(cause instanceof TimedOut)) return;
          connection.destroy();
          throw cause;
        });
      this.#ready.add(connection.connection);
    }
    return connection;
  }

  async probe(): Promise<void> {
    const connected = (async (): Promise<void> => {
      const connection = await this.#connection();
      try {
        await withTimeout(connection.ping(), this.#connectTimeoutMs, "no answer in time");
        connection.release();
      } catch (cause) {
        connection.destroy();
        throw cause;
      }
    })();
    await withTimeout(connected, this.#connectTimeoutMs, "no connection in time");
  }

  async run({ sql }: SqlQuery, parameters: readonly string[]): Promise<readonly unknown[][]> {
    const connection = await this.#connection();
    try {
      const [result] = await withTimeout(
        connection.execute<RowDataPacket[][] | RowDataPacket[]>({ sql, rowsAsArray: true }, [...parameters]),
        this.#timeoutMs,
        "no answer in time",
      );
      connection.release();
      return rowsOf(result);
    } catch (cause) {
      if (kindOf(cause) === "question" && !(cause instanceof TimedOut)) connection.release();
      else connection.destroy();
      throw cause;
    }
  }

  reset(): void {
    const pool = this.#pool;
    this.#pool = undefined;
    void pool?.then((old) => old.end()).catch(() => undefined);
  }

  async close(): Promise<void> {
    const pool = this.#pool;
    this.#pool = undefined;
    await (await pool)?.end().catch(() => undefined);
  }
}

/** Rows as arrays; of a stored procedure, those of its first result set. */
function rowsOf(result: unknown): readonly unknown[][] {
  if (!Array.isArray(result)) return [];
  const list: unknown[] = result;
  const first = list[0];
  const isProcedure = Array.isArray(first) && (first.length === 0 || Array.isArray(first[0]));
  return (isProcedure ? first : list).filter((row): row is unknown[] => Array.isArray(row));
}

function text(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (Buffer.isBuffer(value)) return value.toString("utf8");
  return typeof value === "object" ? JSON.stringify(value) : String(value as string | number | bigint | boolean);
}

class MysqlLookup implements Lookup {
  readonly name: string;
  readonly wholeKeyOnly = false;
  readonly #hosts: Failover<MysqlHost>;
  readonly #query: SqlQuery;
  readonly #shape: AnswerShape;

  constructor(name: string, hosts: Failover<MysqlHost>, query: MysqlQuery) {
    const parsed = parseQuery(query.query);
    if (!parsed.ok) throw new TypeError(`${name}: ${parsed.error}`);
    this.name = name;
    this.#hosts = hosts;
    this.#query = parsed.value;
    this.#shape = new AnswerShape(name, query);
  }

  async get(key: string): Promise<readonly string[] | undefined> {
    const parameters = this.#shape.mayAsk(key) ? queryParameters(this.#query, key) : undefined;
    if (parameters === undefined) return undefined;
    try {
      await driver();
      const rows = await this.#hosts.ask((host) => host.run(this.#query, parameters));
      return this.#shape.valuesOf(key, this.#valuesOf(rows));
    } catch (cause) {
      // A column of plain ASCII cannot hold this key, so no row does.
      if (codeOf(cause) === "ER_CANT_AGGREGATE_2COLLATIONS" && /[^\0-\x7F]/.test(key)) return undefined;
      if (cause instanceof LookupUnavailable && cause.lookup === this.name) throw cause;
      throw new LookupUnavailable(this.name, kindOf(cause) === "host" ? "source" : "question", safeReason(cause));
    }
  }

  *#valuesOf(rows: readonly unknown[][]): Iterable<string> {
    for (const row of rows)
      for (const column of row) {
        const value = text(column);
        if (value.length > MAX_VALUE) throw new LookupUnavailable(this.name, "question", "a value is too long");
        yield value;
      }
  }
}

/** One source with a Lookup for each role it has a query for. */
export function createMysql(source: MysqlSource, secrets: SourceSecrets, events: SourceEvents): Source {
  void driver().catch(() => undefined);
  return createSource(source, events, {
    hosts: source.hosts.map((endpoint) => new MysqlHost(source, endpoint, secrets)),
    kindOf,
    reasonOf: safeReason,
    questions: source.queries,
    lookup: (hosts, query) => new MysqlLookup(source.name, hosts, query),
  });
}
