------------------------------- MODULE amends -------------------------------
(* One saga of N steps, one after the other, among orchestrators, a broker   *)
(* and a participant, any of which may fail at the worst moment.             *)
(* What is here: the fence (a decision counts only on the row it was made    *)
(* from), the outbox, the lease (and two who believe to hold it), the        *)
(* participant's barrier, and compensation. `docs/model.md` walks through.   *)
(* The capital switches at the end of CONSTANTS break one rule each.         *)
EXTENDS Naturals, Sequences

CONSTANTS Orchestrators,
          N,         \* steps are 1..N
          Troubles,  \* crashes and lost leases, all in all
          NoFence, PublishEarly, AckEarly, AnyOrder, NoBarrier, NoTombstone

VARIABLES row,        \* the saga's row in Postgres: [seq, status, step]
          journal,    \* the sequence numbers of committed decisions, in order of commit
          outbox,     \* commands committed, not yet confirmed by the broker
          commands,   \* the participant's queue
          inbox,      \* the partition's queue: replies, the start, a cancel
          holder,     \* whose lease it is, by the database
          believes,   \* who thinks that he has it
          mind,       \* what an orchestrator has loaded and is about to commit
          barrier,    \* the participant's row of each action key
          effects, undos,  \* the world: how often each step was done, and taken back
          troubles

vars == <<row, journal, outbox, commands, inbox, holder, believes, mind,
          barrier, effects, undos, troubles>>
engine == <<row, journal, outbox, mind>>
lease  == <<holder, believes, troubles>>
world  == <<barrier, effects, undos>>

Steps == 1..N
Nothing == [op |-> "nothing"]
Start  == [op |-> "start"]
Cancel == [op |-> "cancel"]
Wake   == [op |-> "wake"]  \* a timer: no message, the row's own wake_at
Do(s)   == [op |-> "do", step |-> s]     \* op and step are the idempotency key: a further
Undo(s) == [op |-> "undo", step |-> s]   \* attempt is the same message once more
Reply(c, outcome) == [op |-> c.op, step |-> c.step, outcome |-> outcome]

Init ==
  /\ row = [seq |-> 0, status |-> "new", step |-> [s \in Steps |-> "pending"]]
  /\ journal = <<>> /\ outbox = {} /\ commands = {} /\ inbox = {Start, Cancel}
  /\ holder = (CHOOSE o \in Orchestrators : TRUE) /\ believes = {holder}
  /\ mind = [o \in Orchestrators |-> Nothing]
  /\ barrier = [s \in Steps |-> "none"]
  /\ effects = [s \in Steps |-> 0] /\ undos = [s \in Steps |-> 0]
  /\ troubles = 0

(***************************** the core decides *****************************)
Set(r, s, state) == [r EXCEPT !.step[s] = state]
Back(r) == [r EXCEPT !.status = "compensating"]

\* What a message tells of a step; the row unchanged if it tells nothing (a duplicate, too late).
Heard(r, m) ==
  CASE m.op = "start" /\ r.status = "new" -> [r EXCEPT !.status = "running"]
    [] m.op = "cancel" /\ r.status = "running" ->
         Back([r EXCEPT !.step = [s \in Steps |-> IF @[s] = "sent" THEN "doubt" ELSE @[s]]])
    [] m.op = "do" /\ r.step[m.step] = "sent" /\ m.outcome = "succeeded" -> Set(r, m.step, "done")
    [] m.op = "do" /\ r.step[m.step] = "sent" /\ m.outcome = "failed" ->
         Back(Set(r, m.step, "failed"))
    [] m.op = "undo" /\ r.step[m.step] = "undoing" -> Set(r, m.step, "undone")
    [] OTHER -> r

\* What tells nothing can never tell anything again: it is acknowledged and forgotten at once.
Counting(r, messages) == {m \in messages : m \in {Start, Cancel} \/ Heard(r, m) # r}

\* The last attempt's timeout: what became of the step is unknown, and compensated as such.
\* (A further attempt is the same message once more, which every message may be: see Handle.)
Woken(r) == {Back(Set(r, s, "doubt")) : s \in {s \in Steps : r.step[s] = "sent"}}

\* What is next is asked of the plan: the first step to do, or the last to undo.
Held(r) == {s \in Steps : r.step[s] \in {"done", "doubt"}}
Advance(r) ==
  CASE r.status = "running" /\ \A s \in Steps : r.step[s] = "done" ->
         {[r EXCEPT !.status = "completed"]}
    [] r.status = "running" /\ \A s \in Steps : r.step[s] \in {"done", "pending"} ->
         {Set(r, s, "sent") : s \in {s \in Steps : r.step[s] = "pending"
                                        /\ \A t \in 1..(s - 1) : r.step[t] = "done"}}
    [] r.status = "compensating" /\ \A s \in Steps : r.step[s] # "undoing" ->
         IF Held(r) = {} THEN {[r EXCEPT !.status = "compensated"]}
         ELSE {Set(r, s, "undoing") :
                 s \in {s \in Held(r) : AnyOrder \/ \A t \in Held(r) : t <= s}}
    [] OTHER -> {r}

Decide(r, m) ==
  LET heard == IF m = Wake THEN Woken(r) ELSE {Heard(r, m)} \ {r} IN
  UNION {Advance(h) : h \in heard}
Commands(r, next) ==
  {IF next.step[s] = "sent" THEN Do(s) ELSE Undo(s) :
     s \in {s \in Steps : next.step[s] # r.step[s] /\ next.step[s] \in {"sent", "undoing"}}}

(*************************** an orchestrator's loop **************************)
\* Load the row and decide. Nothing is durable yet; whoever believes may do it.
Load(o) ==
  /\ o \in believes /\ mind[o] = Nothing
  /\ \E m \in inbox \cup {Wake} : \E next \in Decide(row, m) :
       /\ mind' = [mind EXCEPT ![o] = [op |-> "decided", of |-> m, seen |-> row.seq,
                      next |-> next, send |-> Commands(row, next)]]
       /\ inbox' = IF AckEarly THEN inbox \ {m} ELSE inbox
       /\ commands' = IF PublishEarly THEN commands \cup Commands(row, next) ELSE commands
  /\ UNCHANGED <<row, journal, outbox, lease, world>>

\* One statement, one transaction: row, journal and outbox, where `seq` is the one we loaded.
\* Only then is the message acknowledged. Who lost the race forgets, and loads again.
Commit(o) ==
  /\ mind[o] # Nothing
  /\ LET d == mind[o] IN
     IF NoFence \/ row.seq = d.seen
     THEN /\ row' = [d.next EXCEPT !.seq = d.seen + 1]
          /\ journal' = Append(journal, d.seen + 1)
          /\ outbox' = outbox \cup d.send
          /\ inbox' = Counting(d.next, inbox \ {d.of})
     ELSE UNCHANGED <<row, journal, outbox, inbox>>
  /\ mind' = [mind EXCEPT ![o] = Nothing]
  /\ UNCHANGED <<commands, lease, world>>

\* Anybody's relay publishes what is committed. Without a confirm it would do so again: that is a
\* message delivered twice, as every message may be (Handle).
Publish(m) ==
  /\ m \in outbox /\ outbox' = outbox \ {m} /\ commands' = commands \cup {m}
  /\ UNCHANGED <<row, journal, mind, inbox, lease, world>>

(******************************* the participant *****************************)
\* What the transaction makes of the key's row and of the world: {<<row, done, taken back>>}.
Barrier(c) ==
  LET b == barrier[c.step] IN
  CASE c.op = "do" /\ (b = "none" \/ (NoBarrier /\ b = "done")) ->
         {<<"done", 1, 0>>, <<"refused", 0, 0>>}
    [] c.op = "undo" /\ b = "done" -> {<<"undone", 0, 1>>}
    [] c.op = "undo" /\ b \in {"none", "refused"} /\ ~NoTombstone -> {<<"tombstone", 0, 0>>}
    [] OTHER -> {<<b, 0, 0>>}
Answer(c, b) ==
  CASE c.op = "undo" \/ b \in {"done", "undone"} -> "succeeded"
    [] b = "refused" -> "failed"
    [] OTHER -> "fenced"  \* its compensation was there first; the saga has turned back already

\* Effect and barrier commit together; then the reply, then the ack: a crash before it, and the
\* command is there again.
Handle(c, acked) ==
  /\ c \in commands
  /\ \E b \in Barrier(c) :
       /\ barrier' = [barrier EXCEPT ![c.step] = b[1]]
       /\ effects' = [effects EXCEPT ![c.step] = @ + b[2]]
       /\ undos'   = [undos EXCEPT ![c.step] = @ + b[3]]
       /\ inbox'   = Counting(row, inbox \cup {Reply(c, Answer(c, b[1]))})
  /\ commands' = IF acked THEN commands \ {c} ELSE commands
  /\ UNCHANGED <<engine, lease>>

(********************************** troubles *********************************)
\* The lease ends, or its holder is frozen: another takes it, and the first still believes.
Take(o) ==
  /\ holder # o /\ troubles < Troubles
  /\ holder' = o /\ believes' = believes \cup {o} /\ troubles' = troubles + 1
  /\ UNCHANGED <<engine, commands, inbox, world>>
Notice(o) ==
  /\ o \in believes /\ holder # o /\ believes' = believes \ {o}
  /\ UNCHANGED <<engine, commands, inbox, holder, troubles, world>>
\* What it had in mind is gone, its unacknowledged messages are delivered again.
Crash(o) ==
  /\ mind[o] # Nothing /\ troubles < Troubles
  /\ mind' = [mind EXCEPT ![o] = Nothing] /\ troubles' = troubles + 1
  /\ UNCHANGED <<row, journal, outbox, commands, inbox, holder, believes, world>>

Message == {Do(s) : s \in Steps} \cup {Undo(s) : s \in Steps}
Next ==
  \/ \E o \in Orchestrators : Load(o) \/ Commit(o) \/ Take(o) \/ Notice(o) \/ Crash(o)
  \/ \E m \in Message : Publish(m) \/ Handle(m, TRUE) \/ Handle(m, FALSE)
Fairness ==
  /\ \A o \in Orchestrators : WF_vars(Load(o)) /\ WF_vars(Commit(o))
  /\ \A m \in Message : WF_vars(Publish(m)) /\ WF_vars(Handle(m, TRUE))
Spec == Init /\ [][Next]_vars /\ Fairness

(********************************** promises *********************************)
Effects == [s \in Steps |-> effects[s] - undos[s]]
InMind  == {mind[o].of : o \in {o \in Orchestrators : mind[o] # Nothing}}
Waiting == {s \in Steps : row.step[s] \in {"sent", "undoing"}}

AtMostOneEffect  == \A s \in Steps : effects[s] <= 1 /\ undos[s] <= effects[s]
NoEffectAfterUndo == \A s \in Steps : row.step[s] = "undone" => Effects[s] = 0
ReverseOrder     == \A s \in Steps : undos[s] > 0 => \A t \in (s + 1)..N : Effects[t] = 0
IntentBeforeDispatch ==
  \A c \in commands : row.step[c.step] \notin
    (IF c.op = "do" THEN {"pending"} ELSE {"pending", "sent", "done", "doubt", "failed"})
OneDecisionPerSeq == \A n \in 1..Len(journal) : journal[n] = n
CompletedIsDone  == row.status = "completed" => \A s \in Steps : Effects[s] = 1
CompensatedIsUndone == row.status = "compensated" => \A s \in Steps : Effects[s] = 0
\* A message leaves a queue only when what it causes is durable: nobody waits for what is gone.
NobodyWaitsInVain ==
  /\ row.status = "new" => Start \in inbox \cup InMind
  /\ \A s \in Waiting : \E m \in outbox \cup commands \cup inbox \cup InMind :
       m.op = (IF row.step[s] = "sent" THEN "do" ELSE "undo") /\ m.step = s
EverySagaEnds    == <>(row.status \in {"completed", "compensated"})

\* Not promises but their opposite: a model where nothing happens would keep every promise.
NeverCompleted   == row.status # "completed"
NeverUndone      == ~(row.status = "compensated" /\ \A s \in Steps : undos[s] = 1)
NeverRaced       == \A o, p \in Orchestrators : o # p /\ mind[o] # Nothing /\ mind[p] # Nothing
                      => mind[o].seen # mind[p].seen
=============================================================================
