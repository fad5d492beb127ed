"""Every text of the console, in English and in German: the one catalogue.

A text is named by a key; `{name}` is filled in by `words`. Where a text depends on a count `n`,
`KEY.one` is the one for exactly 1. The words are those of RULES.md and, where supervisors know the
vendor's tab, of that. Values only.
"""

LANGUAGES = {"en": "English", "de": "Deutsch"}

TEXTS: dict[str, tuple[str, str]] = {
    # Everywhere
    "app": ("ownerd", "ownerd"),
    "skip": ("Skip to the content", "Zum Inhalt springen"),
    "nav": ("Pages", "Seiten"),
    "nav.lists": ("Contact lists", "Kontaktlisten"),
    "nav.activity": ("Activity", "Aktivität"),
    "theme": ("Appearance", "Darstellung"),
    "theme.auto": ("As the system", "Wie das System"),
    "theme.light": ("Light", "Hell"),
    "theme.dark": ("Dark", "Dunkel"),
    "language": ("Language", "Sprache"),
    "apply": ("Apply", "Anwenden"),
    "settings": ("Settings", "Einstellungen"),
    "you": ("Signed in as {who}", "Angemeldet als {who}"),
    "signout": ("Sign out", "Abmelden"),
    "server": ("Server {address}", "Server {address}"),
    "zone": ("Times in {zone} ({short})", "Zeiten in {zone} ({short})"),
    "as_of": ("As of {time}", "Stand {time}"),
    "refresh": ("Refresh", "Aktualisieren"),
    "live": ("Live", "Live"),
    "live.hint": (
        "What others do is shown here by itself.",
        "Was andere tun, erscheint hier von selbst.",
    ),
    "cancel": ("Cancel", "Abbrechen"),
    "csv": ("CSV", "CSV"),
    "csv.hint": ("Save what is shown as a CSV file", "Was gezeigt wird als CSV-Datei speichern"),
    "search": ("Search", "Suchen"),
    "reason": ("Reason", "Grund"),
    "reason.optional": ("Reason (optional)", "Grund (optional)"),
    "reason.hint": ("Kept in the audit with your name.", "Steht mit Ihrem Namen im Protokoll."),
    "yes": ("yes", "ja"),
    "no": ("no", "nein"),
    "none": ("none", "keine"),
    "on": ("Enabled", "Aktiv"),
    "off": ("Disabled", "Inaktiv"),
    "never": ("No expiration", "Kein Ablauf"),
    "per_s": ("{rate}/s", "{rate}/s"),
    "page": ("Page {page} of {pages}", "Seite {page} von {pages}"),
    "page.previous": ("Previous", "Zurück"),
    "page.next": ("Next", "Weiter"),
    "in_time": ("in {length}", "in {length}"),
    "ago": ("{length} ago", "vor {length}"),
    "now": ("now", "jetzt"),
    "unit.days": ("{n} days", "{n} Tage"),
    "unit.days.one": ("1 day", "1 Tag"),
    "unit.hours": ("{n} hours", "{n} Stunden"),
    "unit.hours.one": ("1 hour", "1 Stunde"),
    "unit.minutes": ("{n} minutes", "{n} Minuten"),
    "unit.minutes.one": ("1 minute", "1 Minute"),
    "unit.seconds": ("{n} seconds", "{n} Sekunden"),
    "unit.seconds.one": ("1 second", "1 Sekunde"),
    "unit.zero": ("0 seconds", "0 Sekunden"),
    "campaigns": ("{n} campaigns", "{n} Kampagnen"),
    "campaigns.one": ("1 campaign", "1 Kampagne"),
    # Signing in
    "signin": ("Sign in", "Anmelden"),
    "signin.lead": (
        "Sign in with your ownerd token to see who owns which record.",
        "Melden Sie sich mit Ihrem ownerd-Token an, um zu sehen, wem welcher Datensatz gehört.",
    ),
    "signin.token": ("Token", "Token"),
    "signin.token.hint": (
        "It begins with ownerd_. Your administrator made it for you; it is not kept in the browser."
        "",
        "Es beginnt mit ownerd_. Ihre Administration hat es für Sie erzeugt; der Browser behält es"
        " nicht.",
    ),
    "signin.refused": (
        "The server does not know this token: check that it was copied whole, or ask your"
        " administrator for a new one.",
        "Der Server kennt dieses Token nicht: Prüfen Sie, ob es vollständig kopiert wurde, oder"
        " bitten Sie Ihre Administration um ein neues.",
    ),
    "signin.lost": (
        "The server at {address} does not answer. Wait a moment and sign in again; if that goes on,"
        " tell your administrator.",
        "Der Server unter {address} antwortet nicht. Warten Sie kurz und melden Sie sich erneut an;"
        " wenn das anhält, sagen Sie Ihrer Administration Bescheid.",
    ),
    "signin.empty": (
        "This is no token: paste the whole line that begins with ownerd_.",
        "Das ist kein Token: Fügen Sie die ganze Zeile ein, die mit ownerd_ beginnt.",
    ),
    "signin.over": (
        "Your session is over: you signed out, or did nothing for a while. Sign in again.",
        "Ihre Sitzung ist beendet: Sie haben sich abgemeldet oder eine Weile nichts getan. Melden"
        " Sie sich neu an.",
    ),
    "signin.revoked": (
        "The server no longer takes your token: it was revoked or has ended. Ask your administrator"
        " for a new one.",
        "Der Server nimmt Ihr Token nicht mehr an: Es wurde widerrufen oder ist abgelaufen. Bitten"
        " Sie Ihre Administration um ein neues.",
    ),
    "signin.closed": (
        "You are signed out. Open the address that `ownerctl console` printed to come in again.",
        "Sie sind abgemeldet. Öffnen Sie die Adresse, die `ownerctl console` ausgegeben hat, um"
        " wieder hereinzukommen.",
    ),
    # Contact lists
    "lists": ("Contact lists", "Kontaktlisten"),
    "lists.lead": (
        "Which lists protect their records, and what happens on them now.",
        "Welche Listen ihre Datensätze schützen und was auf ihnen gerade geschieht.",
    ),
    "lists.search": ("Find a list by its name", "Liste nach Namen suchen"),
    "lists.list": ("Contact list", "Kontaktliste"),
    "lists.enabled": ("Ownership", "Zugehörigkeit"),
    "lists.duration": ("Duration", "Dauer"),
    "lists.owned": ("Owned", "Zugeordnet"),
    "lists.reserved": ("Dialing now", "Wird gewählt"),
    "lists.granted": ("Claims granted", "Anfragen gewährt"),
    "lists.denied": ("Claims denied", "Anfragen abgelehnt"),
    "lists.shared": ("shares ownership with {lists}", "teilt die Zugehörigkeit mit {lists}"),
    "lists.shown": ("{matched} of {n} lists", "{matched} von {n} Listen"),
    "lists.shown.one": ("{matched} of 1 list", "{matched} von 1 Liste"),
    "lists.counting": (
        "Counting: {counted} of {n} lists so far. The order settles when all are counted.",
        "Es wird gezählt: bisher {counted} von {n} Listen. Die Reihenfolge steht fest, wenn alle"
        " gezählt sind.",
    ),
    "lists.empty": (
        "There is no contact list that you may see. Lists are created with `ownerctl list create`;"
        " which you may see is up to your administrator.",
        "Es gibt keine Kontaktliste, die Sie sehen dürfen. Listen werden mit `ownerctl list create`"
        " angelegt; welche Sie sehen, legt Ihre Administration fest.",
    ),
    "lists.no_match": (
        "No list has “{query}” in its name. Look for a part of the name, or show all.",
        "Keine Liste hat „{query}“ im Namen. Suchen Sie nach einem Teil des Namens oder lassen Sie"
        " alle anzeigen.",
    ),
    "lists.all": ("Show all lists", "Alle Listen anzeigen"),
    "lists.no_counts": (
        "How much is owned is shown to those who have the right ownership_control.",
        "Wie viel zugeordnet ist, sehen nur Personen mit dem Recht ownership_control.",
    ),
    "sort.by": ("Sort by {column}", "Nach {column} sortieren"),
    # One list: what it shows
    "list.owned": ("Owned records", "Zugeordnete Datensätze"),
    "list.reserved": ("Being dialed now", "Werden gerade gewählt"),
    "list.granted": ("Claims granted", "Anfragen gewährt"),
    "list.denied": ("Claims denied", "Anfragen abgelehnt"),
    "list.since": ("{n} since the server started", "{n} seit dem Start des Servers"),
    # One list: configuration
    "policy": ("Configuration", "Konfiguration"),
    "policy.enable": (
        "Enable campaign ownership of records",
        "Zugehörigkeit von Datensätzen zu Kampagnen aktivieren",
    ),
    "policy.enable.hint": (
        "The first campaign that reaches a record owns it; others are kept away from it.",
        "Die erste Kampagne, die einen Datensatz erreicht, behält ihn; andere werden abgewiesen.",
    ),
    "policy.duration": ("Ownership lasts", "Zugehörigkeit dauert"),
    "policy.after": ("This long:", "So lange:"),
    "policy.never": ("Without end, until it is released", "Ohne Ende, bis sie freigegeben wird"),
    "policy.days": ("Days", "Tage"),
    "policy.hours": ("Hours", "Stunden"),
    "policy.minutes": ("Minutes", "Minuten"),
    "policy.seconds": ("Seconds", "Sekunden"),
    "policy.advanced": ("Advanced", "Erweitert"),
    "policy.renewal": ("Renewal window", "Verlängerungsfenster"),
    "policy.renewal.hint": (
        "An attempt by the owner renews an ownership with no more than this left. For example 5h or"
        " 30m; 0s never renews; empty: one tenth of the duration.",
        "Ein Anruf der eigenen Kampagne verlängert eine Zugehörigkeit, die höchstens noch so lange"
        " dauert. Zum Beispiel 5h oder 30m; 0s verlängert nie; leer: ein Zehntel der Dauer.",
    ),
    "policy.reservation": ("Reservation time", "Reservierungszeit"),
    "policy.reservation.hint": (
        "How long a record stays reserved for a campaign that dials it and does not report. For"
        " example 15m, which is what empty means.",
        "Wie lange ein Datensatz für eine wählende Kampagne reserviert bleibt, die nichts meldet."
        " Zum Beispiel 15m; das gilt auch, wenn das Feld leer ist.",
    ),
    "policy.save": ("Save…", "Speichern…"),
    "policy.save.now": ("Save", "Speichern"),
    "policy.changed": ("Last changed {time}", "Zuletzt geändert {time}"),
    "policy.shared": (
        "This configuration also counts for {lists}, with which the list shares its ownership.",
        "Diese Konfiguration gilt auch für {lists}: Diese Listen teilen sich die Zugehörigkeit.",
    ),
    "policy.title": ("Save this configuration?", "Diese Konfiguration speichern?"),
    "policy.reading": (
        "You may look at the configuration. To change it takes the right configure.",
        "Sie können die Konfiguration ansehen. Zum Ändern brauchen Sie das Recht configure.",
    ),
    "policy.saved": ("The configuration is saved.", "Die Konfiguration ist gespeichert."),
    "policy.same": (
        "That is what is set already: there is nothing to save.",
        "Das ist schon so eingestellt: Es gibt nichts zu speichern.",
    ),
    "effect.duration": (
        "{n} records are owned now. Each ownership will then end {length} after you save, about"
        " {time}, whatever it was before.",
        "{n} Datensätze sind jetzt zugeordnet. Jede Zuordnung endet dann {length} nach dem"
        " Speichern, etwa {time}, was auch immer vorher galt.",
    ),
    "effect.duration.one": (
        "1 record is owned now. That ownership will then end {length} after you save, about {time},"
        " whatever it was before.",
        "1 Datensatz ist jetzt zugeordnet. Die Zuordnung endet dann {length} nach dem Speichern,"
        " etwa {time}, was auch immer vorher galt.",
    ),
    "effect.duration.uncounted": (
        "Every ownership that there is will then end {length} after you save, about {time},"
        " whatever it was before.",
        "Jede bestehende Zuordnung endet dann {length} nach dem Speichern, etwa {time}, was auch"
        " immer vorher galt.",
    ),
    "effect.shortened": (
        "For {n} of them that is sooner than now.",
        "Für {n} davon ist das früher als jetzt.",
    ),
    "effect.shortened.one": (
        "For 1 of them that is sooner than now.",
        "Für 1 davon ist das früher als jetzt.",
    ),
    "effect.none_shortened": (
        "For none of them is that sooner than now.",
        "Für keine davon ist das früher als jetzt.",
    ),
    "effect.never": (
        "{n} records are owned now. They will then stay with their campaigns without end, until"
        " they are released.",
        "{n} Datensätze sind jetzt zugeordnet. Sie bleiben dann ohne Ende bei ihren Kampagnen, bis"
        " sie freigegeben werden.",
    ),
    "effect.never.one": (
        "1 record is owned now. It will then stay with its campaign without end, until it is"
        " released.",
        "1 Datensatz ist jetzt zugeordnet. Er bleibt dann ohne Ende bei seiner Kampagne, bis er"
        " freigegeben wird.",
    ),
    "effect.never.uncounted": (
        "Every ownership that there is will then have no end, until it is released.",
        "Jede bestehende Zuordnung hat dann kein Ende, bis sie freigegeben wird.",
    ),
    "effect.nobody": (
        "No record is owned now, so no expiration moves.",
        "Jetzt ist kein Datensatz zugeordnet; es verschiebt sich kein Ablauf.",
    ),
    "effect.enable": (
        "From then on the first campaign that makes a valid attempt on a record owns it for"
        " {length}.",
        "Ab dann gehört ein Datensatz {length} lang der ersten Kampagne, die ihn gültig anruft.",
    ),
    "effect.enable.never": (
        "From then on the first campaign that makes a valid attempt on a record owns it without"
        " end, until it is released.",
        "Ab dann gehört ein Datensatz ohne Ende der ersten Kampagne, die ihn gültig anruft, bis er"
        " freigegeben wird.",
    ),
    "effect.length": (
        "A record that a campaign comes to own is then owned for {length}.",
        "Ein Datensatz, der einer Kampagne zufällt, gehört ihr dann {length} lang.",
    ),
    "effect.length.never": (
        "A record that a campaign comes to own is then owned without end, until it is released.",
        "Ein Datensatz, der einer Kampagne zufällt, gehört ihr dann ohne Ende, bis er freigegeben"
        " wird.",
    ),
    "effect.disable": (
        "{n} records stay with their campaigns, and others are denied them, until they expire or"
        " are released. Nothing new is owned or reserved.",
        "{n} Datensätze bleiben bei ihren Kampagnen, und andere werden abgewiesen, bis sie ablaufen"
        " oder freigegeben werden. Neues wird weder zugeordnet noch reserviert.",
    ),
    "effect.disable.one": (
        "1 record stays with its campaign, and others are denied it, until it expires or is"
        " released. Nothing new is owned or reserved.",
        "1 Datensatz bleibt bei seiner Kampagne, und andere werden abgewiesen, bis er abläuft oder"
        " freigegeben wird. Neues wird weder zugeordnet noch reserviert.",
    ),
    "effect.disable.uncounted": (
        "Records that are owned stay with their campaigns until they expire or are released."
        " Nothing new is owned or reserved.",
        "Zugeordnete Datensätze bleiben bei ihren Kampagnen, bis sie ablaufen oder freigegeben"
        " werden. Neues wird weder zugeordnet noch reserviert.",
    ),
    "effect.unmoved": (
        "No expiration moves: {n} owned records stay as they are.",
        "Es verschiebt sich kein Ablauf: {n} zugeordnete Datensätze bleiben, wie sie sind.",
    ),
    "effect.unmoved.one": (
        "No expiration moves: 1 owned record stays as it is.",
        "Es verschiebt sich kein Ablauf: 1 zugeordneter Datensatz bleibt, wie er ist.",
    ),
    "effect.unmoved.uncounted": (
        "No expiration moves: records that are owned stay as they are.",
        "Es verschiebt sich kein Ablauf: Zugeordnete Datensätze bleiben, wie sie sind.",
    ),
    "effect.renewal": (
        "The renewal window counts for attempts that are reported from then on.",
        "Das Verlängerungsfenster gilt für Anrufe, die ab dann gemeldet werden.",
    ),
    "effect.reservation": (
        "The reservation time counts for claims from then on.",
        "Die Reservierungszeit gilt für Anfragen ab dann.",
    ),
    "stale": (
        "Somebody else saved this configuration while you were at it",
        "Jemand anderes hat diese Konfiguration inzwischen gespeichert",
    ),
    "stale.lead": (
        "Nothing of yours was saved. Compare, then keep what is there or look at the effect of"
        " yours again.",
        "Von Ihnen wurde nichts gespeichert. Vergleichen Sie, und behalten Sie dann, was gilt, oder"
        " sehen Sie sich die Wirkung Ihrer Fassung noch einmal an.",
    ),
    "stale.setting": ("Setting", "Einstellung"),
    "stale.theirs": ("There now", "Gilt jetzt"),
    "stale.yours": ("Yours", "Ihre Fassung"),
    "stale.keep": ("Keep what is there", "Behalten, was gilt"),
    "stale.again": ("Look at mine again…", "Meine noch einmal prüfen…"),
    "default.renewal": ("one tenth of the duration", "ein Zehntel der Dauer"),
    # One list: actions
    "owners": ("Campaigns that own records", "Kampagnen mit Datensätzen"),
    "owners.pick": ("Select", "Auswählen"),
    "owners.select": ("Select {campaign}", "{campaign} auswählen"),
    "owners.campaign": ("Campaign", "Kampagne"),
    "owners.owned": ("Owned", "Zugeordnet"),
    "owners.share": ("Share", "Anteil"),
    "owners.earliest": ("Earliest expiration", "Frühester Ablauf"),
    "owners.reserved": ("Dialing", "Wird gewählt"),
    "owners.denied": ("Denied", "Abgelehnt"),
    "owners.denied.hint": (
        "Claims of this campaign that were denied since the server started, and by whom most often",
        "Anfragen dieser Kampagne, die seit dem Start des Servers abgelehnt wurden, und durch wen"
        " am häufigsten",
    ),
    "owners.denied_by": ("mostly by {campaign}", "meist durch {campaign}"),
    "owners.twice": (
        "Called {n} people whom another campaign held",
        "Rief {n} Personen an, die eine andere Kampagne hatte",
    ),
    "owners.twice.one": (
        "Called 1 person whom another campaign held",
        "Rief 1 Person an, die eine andere Kampagne hatte",
    ),
    "owners.empty": (
        "No campaign owns or dials a record of this list.",
        "Keine Kampagne hat oder wählt einen Datensatz dieser Liste.",
    ),
    "owners.hidden": (
        "Which campaigns own records, and their release, need the right ownership_control.",
        "Welche Kampagnen Datensätze haben und deren Freigabe: dazu gehört das Recht"
        " ownership_control.",
    ),
    "owners.some": (
        "Only the campaigns that you may control are shown.",
        "Es werden nur die Kampagnen gezeigt, die Sie steuern dürfen.",
    ),
    "release": ("Release…", "Freigeben…"),
    "release.all": ("Release all campaigns…", "Alle Kampagnen freigeben…"),
    "release.title": ("Release these records?", "Diese Datensätze freigeben?"),
    "release.count": (
        "{n} records become free at once: the next campaign that asks for one gets it.",
        "{n} Datensätze werden sofort frei: Die nächste Kampagne, die einen anfragt, bekommt ihn.",
    ),
    "release.count.one": (
        "1 record becomes free at once: the next campaign that asks for it gets it.",
        "1 Datensatz wird sofort frei: Die nächste Kampagne, die ihn anfragt, bekommt ihn.",
    ),
    "release.whose_all": ("Of all campaigns in this list.", "Von allen Kampagnen dieser Liste."),
    "release.reservations": (
        "End the reservations of dials in progress too",
        "Auch die Reservierungen laufender Anrufe beenden",
    ),
    "release.reservations.hint": (
        "Only if the campaign's dialers are dead: another campaign could ring the same person.",
        "Nur wenn die Wählsysteme der Kampagne ausgefallen sind: Sonst könnte eine andere Kampagne"
        " dieselbe Person anrufen.",
    ),
    "release.go": ("Release {n} records", "{n} Datensätze freigeben"),
    "release.go.one": ("Release 1 record", "1 Datensatz freigeben"),
    "release.done": ("{n} records were released.", "{n} Datensätze wurden freigegeben."),
    "release.done.one": ("1 record was released.", "1 Datensatz wurde freigegeben."),
    "release.nothing": (
        "Select the campaigns first whose records you mean.",
        "Wählen Sie zuerst die Kampagnen aus, deren Datensätze gemeint sind.",
    ),
    "reason.missing": (
        "Say why, in a few words: it is kept in the audit.",
        "Nennen Sie in wenigen Worten den Grund: Er steht dann im Protokoll.",
    ),
    "transfer": ("Transfer…", "Übertragen…"),
    "transfer.title": ("Transfer ownership", "Zugehörigkeit übertragen"),
    "transfer.single": (
        "Select exactly one campaign: the one whose records another is to get.",
        "Wählen Sie genau eine Kampagne aus: die, deren Datensätze eine andere bekommen soll.",
    ),
    "transfer.from": ("From {campaign}", "Von {campaign}"),
    "transfer.to": ("To which campaign", "An welche Kampagne"),
    "transfer.to.hint": (
        "Its name or id. A new id, such as that of a rerun, becomes known by this.",
        "Ihr Name oder ihre Kennung. Eine neue Kennung, etwa die einer Wiederholung, wird dadurch"
        " bekannt.",
    ),
    "transfer.missing": (
        "Name the campaign that is to get the records.",
        "Nennen Sie die Kampagne, die die Datensätze bekommen soll.",
    ),
    "transfer.same": (
        "These are the same campaign: name another one.",
        "Das ist dieselbe Kampagne: Nennen Sie eine andere.",
    ),
    "transfer.next": ("Count…", "Zählen…"),
    "transfer.count": (
        "{n} records go from {giver} to {receiver} at once. Their expirations stay.",
        "{n} Datensätze gehen sofort von {giver} an {receiver}. Ihre Abläufe bleiben.",
    ),
    "transfer.count.one": (
        "1 record goes from {giver} to {receiver} at once. Its expiration stays.",
        "1 Datensatz geht sofort von {giver} an {receiver}. Sein Ablauf bleibt.",
    ),
    "transfer.go": ("Transfer {n} records", "{n} Datensätze übertragen"),
    "transfer.go.one": ("Transfer 1 record", "1 Datensatz übertragen"),
    "transfer.done": (
        "{n} records now belong to {receiver}.",
        "{n} Datensätze gehören jetzt {receiver}.",
    ),
    "transfer.done.one": (
        "1 record now belongs to {receiver}.",
        "1 Datensatz gehört jetzt {receiver}.",
    ),
    # One record
    "find": ("Find a record", "Datensatz suchen"),
    "find.lead": (
        "Who holds it, and why was a campaign denied?",
        "Wer hat ihn, und warum wurde eine Kampagne abgewiesen?",
    ),
    "find.record": ("Record", "Datensatz"),
    "find.record.hint": (
        "Its id, as the contact list has it.",
        "Seine Kennung, wie sie in der Kontaktliste steht.",
    ),
    "find.campaign": ("Campaign that was denied (optional)", "Abgewiesene Kampagne (optional)"),
    "find.go": ("Look up", "Nachsehen"),
    "find.empty": ("Give the id of a record.", "Geben Sie die Kennung eines Datensatzes an."),
    "record": ("Record {record}", "Datensatz {record}"),
    "record.in": ("in {list}", "in {list}"),
    "record.free": ("Nobody holds this record.", "Niemand hat diesen Datensatz."),
    "record.free.enabled": (
        "The next campaign that asks for it gets it.",
        "Die nächste Kampagne, die ihn anfragt, bekommt ihn.",
    ),
    "record.free.disabled": (
        "Ownership is disabled for this list, so any campaign may dial it freely.",
        "Die Zugehörigkeit ist für diese Liste inaktiv; jede Kampagne darf ihn frei wählen.",
    ),
    "record.owned": ("{campaign} owns this record.", "Dieser Datensatz gehört {campaign}."),
    "record.reserved": (
        "{campaign} is dialing this record.",
        "{campaign} wählt gerade diesen Datensatz.",
    ),
    "record.hidden.owned": (
        "Another campaign owns this record; whose it is, you may not see.",
        "Dieser Datensatz gehört einer Kampagne; welcher, dürfen Sie nicht sehen.",
    ),
    "record.hidden.reserved": (
        "A campaign is dialing this record; which, you may not see.",
        "Eine Kampagne wählt gerade diesen Datensatz; welche, dürfen Sie nicht sehen.",
    ),
    "record.until": (
        "Every other campaign is denied until {time}, {left}.",
        "Jede andere Kampagne wird bis {time} abgewiesen, {left}.",
    ),
    "record.until.never": (
        "Every other campaign is denied until it is released: it has no expiration.",
        "Jede andere Kampagne wird abgewiesen, bis er freigegeben wird: Es gibt keinen Ablauf.",
    ),
    "record.since": ("Since", "Seit"),
    "record.expires": ("Until", "Bis"),
    "record.owner": ("Owner", "Gehört"),
    "record.holder": ("Holder", "Gehalten von"),
    "record.dialing": ("Reserved for a dial until", "Für einen Anruf reserviert bis"),
    "record.dialer": ("Dialer", "Wählsystem"),
    "record.last": ("Last valid attempt", "Letzter gültiger Anruf"),
    "why.denied.owned": (
        "{asker} is denied because {campaign} made a valid attempt on this record first, at"
        " {since}, and owns it.",
        "{asker} wird abgewiesen, weil {campaign} diesen Datensatz zuerst gültig angerufen hat, um"
        " {since}, und er ihr deshalb gehört.",
    ),
    "why.denied.reserved": (
        "{asker} is denied because {campaign} is dialing this record now and has it reserved until"
        " {until}.",
        "{asker} wird abgewiesen, weil {campaign} diesen Datensatz gerade wählt und bis {until}"
        " reserviert hat.",
    ),
    "why.denied.given": (
        "{asker} owns this record, but a dial that began before it was transferred keeps everybody"
        " off until {until}.",
        "{asker} hat diesen Datensatz, aber ein Anruf von vor der Übertragung hält bis {until} alle"
        " ab.",
    ),
    "why.denied.hidden": (
        "{asker} is denied because another campaign holds this record.",
        "{asker} wird abgewiesen, weil eine andere Kampagne diesen Datensatz hat.",
    ),
    "why.granted.owner": (
        "{asker} owns this record and may dial it.",
        "{asker} gehört dieser Datensatz; sie darf ihn wählen.",
    ),
    "why.granted.dialer": (
        "{asker} has this record, but its dialer {dialer} is dialing it: its other dialers are"
        " denied until {until}.",
        "{asker} hat diesen Datensatz, aber ihr Wählsystem {dialer} wählt ihn gerade: Ihre anderen"
        " werden bis {until} abgewiesen.",
    ),
    "why.granted.free": (
        "Nobody holds this record, so {asker} may dial it now. If it was denied before, that hold"
        " is over; what happened is below.",
        "Niemand hat diesen Datensatz, {asker} darf ihn also jetzt wählen. Wenn sie vorher"
        " abgewiesen wurde, ist das vorbei; was geschah, steht unten.",
    ),
    "why.free": (
        "If a campaign was denied before, that hold is over; what happened is below.",
        "Wenn eine Kampagne vorher abgewiesen wurde, ist das vorbei; was geschah, steht unten.",
    ),
    "record.release": ("Release this record…", "Diesen Datensatz freigeben…"),
    "record.release.title": ("Release this record?", "Diesen Datensatz freigeben?"),
    "record.release.text": (
        "{campaign} no longer owns it, and the next campaign that asks for it gets it.",
        "Er gehört dann nicht mehr {campaign}, und die nächste Kampagne, die ihn anfragt, bekommt"
        " ihn.",
    ),
    "record.release.go": ("Release", "Freigeben"),
    "record.released": ("The record was released.", "Der Datensatz wurde freigegeben."),
    "record.not_released": (
        "Nothing was released: {campaign} did not own the record any more.",
        "Nichts wurde freigegeben: Der Datensatz gehörte {campaign} nicht mehr.",
    ),
    "history": ("What happened", "Was geschah"),
    "history.empty": (
        "Nothing is known of this record: the changes that are kept do not mention it.",
        "Über diesen Datensatz ist nichts bekannt: Die aufbewahrten Änderungen nennen ihn nicht.",
    ),
    "history.short": (
        "Only the newest part of what is kept was looked through.",
        "Nur der neueste Teil des Aufbewahrten wurde durchgesehen.",
    ),
    "history.behind": (
        "Not everything is read yet, the newest is still to come: this page goes on by itself.",
        "Noch ist nicht alles gelesen, das Neueste fehlt noch: Diese Seite liest von selbst weiter."
        "",
    ),
    "history.no_audit": (
        "The audit is shown to those who may view every list and campaign.",
        "Das Protokoll sehen nur Personen, die alle Listen und Kampagnen ansehen dürfen.",
    ),
    "history.no_feed": (
        "This server does not tell single attempts; what supervisors did is shown.",
        "Dieser Server meldet keine einzelnen Anrufe; gezeigt wird, was veranlasst wurde.",
    ),
    "event.owned": ("{campaign} came to own it, until {time}", "Ging an {campaign}, bis {time}"),
    "event.owned.never": (
        "{campaign} came to own it, without end",
        "Ging an {campaign}, ohne Ende",
    ),
    "event.reserved": ("{campaign} began to dial it", "{campaign} begann, ihn zu wählen"),
    "event.kept": (
        "{campaign} ended a dial, and owns it until {time}",
        "{campaign} beendete einen Anruf; er gehört ihr bis {time}",
    ),
    "event.kept.never": (
        "{campaign} ended a dial, and owns it without end",
        "{campaign} beendete einen Anruf; er gehört ihr ohne Ende",
    ),
    "event.free": ("Became free", "Wurde frei"),
    "event.rejected": (
        "{campaign} called, although {holder} held it",
        "{campaign} rief an, obwohl {holder} ihn hatte",
    ),
    "event.released": (
        "Ownership of {campaign} in the list was released",
        "Die Zugehörigkeit zu {campaign} wurde in der Liste freigegeben",
    ),
    "event.released.all": (
        "All ownership in the list was released",
        "Alle Zugehörigkeit in der Liste wurde freigegeben",
    ),
    "event.transferred": (
        "Ownership of {giver} went to {receiver}",
        "Die Zugehörigkeit zu {giver} ging an {receiver}",
    ),
    "event.duration": (
        "The duration was changed to {length}: ownership ends that long after",
        "Die Dauer wurde auf {length} geändert: So lange danach endet die Zugehörigkeit",
    ),
    "event.duration.never": (
        "The duration was removed: ownership has no end",
        "Die Dauer wurde entfernt: Die Zugehörigkeit hat kein Ende",
    ),
    "event.by": ("by {who}", "durch {who}"),
    # Activity
    "activity": ("Activity", "Aktivität"),
    "activity.lead": (
        "What campaigns ask and are told, what is wrong, and who changed what.",
        "Was Kampagnen fragen und als Antwort bekommen, was nicht stimmt und wer was geändert hat.",
    ),
    "activity.list": ("List", "Liste"),
    "activity.all_lists": ("All lists", "Alle Listen"),
    "activity.followed": ("The first {n} lists", "Die ersten {n} Listen"),
    "chart.claims": ("Claims a second", "Anfragen je Sekunde"),
    "chart.attempts": ("Attempts a second", "Anrufe je Sekunde"),
    "chart.releases": ("Records released", "Freigegebene Datensätze"),
    "chart.granted": ("granted", "gewährt"),
    "chart.denied": ("denied", "abgelehnt"),
    "chart.uncontrolled": ("ownership disabled", "Zugehörigkeit inaktiv"),
    "chart.attempts.all": ("reported", "gemeldet"),
    "chart.acquired": ("made an owner", "begründeten Zugehörigkeit"),
    "chart.rejected": ("rejected", "zurückgewiesen"),
    "chart.released": ("released", "freigegeben"),
    "chart.minutes": ("Last {n} minutes", "Letzte {n} Minuten"),
    "chart.minutes.one": ("Last minute", "Letzte Minute"),
    "chart.empty": (
        "Nothing yet: this chart fills while you are signed in.",
        "Noch nichts: Dieses Diagramm füllt sich, während Sie angemeldet sind.",
    ),
    "chart.highest": ("highest {rate}", "höchstens {rate}"),
    "chart.latest": ("now {rate}", "jetzt {rate}"),
    "chart.no_control": (
        "Charts need the right ownership_control.",
        "Für die Diagramme ist das Recht ownership_control nötig.",
    ),
    "alarms": ("Alarms", "Alarme"),
    "alarms.none": ("Nothing is wrong.", "Alles in Ordnung."),
    "alarms.n": ("{n} alarms", "{n} Alarme"),
    "alarms.n.one": ("1 alarm", "1 Alarm"),
    "status.store": ("Store", "Speicher"),
    "status.version": ("Version", "Version"),
    "status.records": ("Records stored", "Gespeicherte Datensätze"),
    "status.lists": ("Contact lists", "Kontaktlisten"),
    "status.campaigns": ("Campaigns", "Kampagnen"),
    "status.uptime": ("Serving since", "In Betrieb seit"),
    # Audit
    "audit": ("Audit", "Protokoll"),
    "audit.recent": ("Recent changes", "Letzte Änderungen"),
    "audit.time": ("Time", "Zeit"),
    "audit.who": ("Who", "Wer"),
    "audit.action": ("What", "Was"),
    "audit.about": ("About", "Betrifft"),
    "audit.count": ("Records", "Datensätze"),
    "audit.reason": ("Reason", "Grund"),
    "audit.refused": ("Refused", "Abgewiesen"),
    "audit.detail": ("Details", "Einzelheiten"),
    "audit.only_refused": ("Only refusals", "Nur Abgewiesenes"),
    "audit.any": ("Any", "Alle"),
    "audit.since": ("Since", "Seit"),
    "audit.1h": ("the last hour", "der letzten Stunde"),
    "audit.24h": ("the last 24 hours", "den letzten 24 Stunden"),
    "audit.7d": ("the last 7 days", "den letzten 7 Tagen"),
    "audit.always": ("the beginning", "dem Anfang"),
    "audit.filter": ("Filter", "Filtern"),
    "audit.more": ("Older entries", "Ältere Einträge"),
    "audit.empty": ("No entry fits.", "Kein Eintrag passt."),
    "audit.no_right": (
        "The audit is shown to those who may view every list and campaign.",
        "Das Protokoll sehen nur Personen, die alle Listen und Kampagnen ansehen dürfen.",
    ),
    "audit.counting": ("being counted", "wird gezählt"),
    "action.CreateContactList": ("List created", "Liste angelegt"),
    "action.DeleteContactList": ("List deleted", "Liste gelöscht"),
    "action.UpdateOwnershipPolicy": ("Configuration saved", "Konfiguration gespeichert"),
    "action.ReleaseOwnership": ("Released", "Freigegeben"),
    "action.ReleaseRecords": ("Records released", "Datensätze freigegeben"),
    "action.TransferOwnership": ("Transferred", "Übertragen"),
    "action.ImportOwnership": ("Imported", "Importiert"),
    "action.UpsertCampaign": ("Campaign named", "Kampagne benannt"),
    "action.DeleteCampaign": ("Campaign deleted", "Kampagne gelöscht"),
    "action.SignalCampaign": ("Campaign signal", "Kampagnensignal"),
    "action.UpsertWrapUpCode": ("Wrap-up code set", "Abschlusscode gesetzt"),
    "action.DeleteWrapUpCode": ("Wrap-up code deleted", "Abschlusscode gelöscht"),
    "action.UpdateStoreSettings": ("Settings saved", "Einstellungen gespeichert"),
    "action.CreatePrincipal": ("Principal created", "Zugang angelegt"),
    "action.UpdatePrincipal": ("Principal changed", "Zugang geändert"),
    "action.DeletePrincipal": ("Principal deleted", "Zugang gelöscht"),
    "action.RotateToken": ("Token made", "Token erzeugt"),
    "action.RevokeTokens": ("Tokens revoked", "Token widerrufen"),
    # What went wrong
    "error.title": ("That did not work", "Das hat nicht geklappt"),
    "error.said": ("The server says: {message}", "Der Server sagt: {message}"),
    "error.lost": (
        "The server does not answer since {time}. What you see is from before; this page tries"
        " again by itself.",
        "Der Server antwortet seit {time} nicht. Was Sie sehen, ist von vorher; diese Seite"
        " versucht es von selbst weiter.",
    ),
    "error.lost.first": (
        "The server at {address} does not answer. This page tries again by itself; if that goes on,"
        " tell your administrator.",
        "Der Server unter {address} antwortet nicht. Diese Seite versucht es von selbst weiter;"
        " wenn das anhält, sagen Sie Ihrer Administration Bescheid.",
    ),
    "error.late": (
        "The server takes long to answer. What you see is from before; this page waits for it.",
        "Der Server braucht lange für eine Antwort. Was Sie sehen, ist von vorher; diese Seite"
        " wartet darauf.",
    ),
    "error.console_lost": (
        "The console does not answer. What you see is from before; this page tries again by itself."
        "",
        "Die Konsole antwortet nicht. Was Sie sehen, ist von vorher; diese Seite versucht es von"
        " selbst weiter.",
    ),
    "error.unknown_outcome": (
        "The server did not answer, so it is not known whether this was done. Look at the list and,"
        " if it was not, do it again: that does no harm.",
        "Der Server hat nicht geantwortet; ob es ausgeführt wurde, ist unbekannt. Sehen Sie in der"
        " Liste nach und wiederholen Sie es, falls nicht: Das schadet nicht.",
    ),
    "error.denied": (
        "You may not do this. Ask your administrator for the right that is named here.",
        "Das dürfen Sie nicht. Bitten Sie Ihre Administration um das Recht, das hier genannt ist.",
    ),
    "error.not_found": (
        "This does not exist, or no longer does: go back to the lists.",
        "Das gibt es nicht oder nicht mehr: Gehen Sie zurück zu den Listen.",
    ),
    "error.busy": (
        "The server has too much to do, or you asked too often. Wait a moment and try again.",
        "Der Server hat zu viel zu tun, oder Sie haben zu oft gefragt. Warten Sie kurz und"
        " versuchen Sie es erneut.",
    ),
    "error.value": (
        "The server does not take this value. Change it and try again.",
        "Der Server nimmt diesen Wert nicht an. Ändern Sie ihn und versuchen Sie es erneut.",
    ),
    "error.other": (
        "Something went wrong on the way. Try again; if it goes on, tell your administrator.",
        "Unterwegs ist etwas schiefgegangen. Versuchen Sie es erneut; wenn es anhält, sagen Sie"
        " Ihrer Administration Bescheid.",
    ),
    "error.form": (
        "This form is too old or not from here. Go back and try again.",
        "Dieses Formular ist zu alt oder nicht von hier. Gehen Sie zurück und versuchen Sie es"
        " erneut.",
    ),
    "error.host": (
        "The console is not reached by this name. Use the address that it was started with.",
        "Die Konsole ist nicht unter diesem Namen erreichbar. Nehmen Sie die Adresse, mit der sie"
        " gestartet wurde.",
    ),
    "error.page": ("There is no such page.", "Diese Seite gibt es nicht."),
    "error.back": ("Back to the contact lists", "Zurück zu den Kontaktlisten"),
    "error.number": (
        "{field}: “{found}” is no whole number; give digits only.",
        "{field}: „{found}“ ist keine ganze Zahl; nur Ziffern sind erlaubt.",
    ),
    "error.duration": (
        "Give a duration of at least one second and at most 36,525 days, or choose one without end."
        "",
        "Geben Sie eine Dauer von mindestens einer Sekunde und höchstens 36.525 Tagen an, oder"
        " wählen Sie eine ohne Ende.",
    ),
    "error.length": (
        "{field}: “{found}” is no length of time; write it like 2d3h, 5h or 30m.",
        "{field}: „{found}“ ist keine Zeitspanne; schreiben Sie sie wie 2d3h, 5h oder 30m.",
    ),
    "error.reservation": (
        "The reservation time is at least one second and at most 36,525 days.",
        "Die Reservierungszeit beträgt mindestens eine Sekunde und höchstens 36.525 Tage.",
    ),
    "error.renewal": (
        "The renewal window is at most 36,525 days.",
        "Das Verlängerungsfenster beträgt höchstens 36.525 Tage.",
    ),
}
