#!/usr/bin/env bash
# The everyday commands of this repository; `./build.sh` alone lists them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

solution=TensorNets.sln
configuration=Release
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # libtorch's spinning threads slow small operations down
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

# paket.dependencies and paket.lock name the package source as %NUGET_INDEX%: the first one that this machine's NuGet is set up with.
package_source() {
    NUGET_INDEX=${NUGET_INDEX:-$(dotnet nuget list source --format short | sed -n 's/^E \(http.*\)/\1/p' | head -1)}
    export NUGET_INDEX
}

usage() {
    cat <<'TEXT'
./build.sh VERB
  build          compile everything, warnings as errors
  test [ARGS]    build, run every test program (ARGS go to Expecto, as in: ./build.sh test --filter Properties.Axis), print the total
  test-without-kernels [ARGS]
                 build, run tests/Properties with the kernels off (TENSORNETS_KERNELS=off), then without 512-bit vectors (DOTNET_EnableAVX512=0), print the total;
                 with --fast as the first argument only lists that take seconds
  pack [FOLDER]  build, write the packages TensorNets.Core, TensorNets.CSharp and TensorNets.Onnx to FOLDER (packages/): the same bytes from the same commit;
                 TENSORNETS_REPOSITORY=https://... is the repository that they name and link their sources to
  pack-tool [FOLDER]
                 build, write the command tensornets to FOLDER (packages/): a package for each system with its libtorch, and a small one that names them;
                 TENSORNETS_SYSTEMS=linux-x64 is a list of systems, between semicolons
  format         format F# with Fantomas and C# with dotnet format
  check-format   the same, changing nothing; fails if something would change
  docs           build, run the scripts under docs/, write the site to output/
  lock           resolve paket.dependencies anew and write paket.lock in full
TEXT
}

build() { dotnet build "$solution" --configuration "$configuration" --verbosity minimal --nologo; }

# Runs a command and shows what it printed, whole, under a title when it has ended; ends as it did.
show_at_end() {
    local lock=$1 title=$2 log=$3 exit_code=0
    shift 3
    "$@" >"$log" 2>&1 || exit_code=$?
    flock "$lock" cat - "$log" <<<"== $title"
    return "$exit_code"
}

# Runs one test program, leaves what it prints and its exit code in a folder, and shows it, whole, when it has ended.
run_program() {
    local folder=$1 program=$2 name exit_code=0
    shift 2
    name=$(basename "$program" .dll)
    echo "== $name begins"
    show_at_end "$folder" "$name" "$folder/$name.log" dotnet "$program" "$@" || exit_code=$?
    echo "$exit_code" >"$folder/$name.code"
}

# Adds the counts of a program that was run to the totals. A crash counts as one failure.
count_tests() {
    local folder=$1 name=$2 line exit_code
    exit_code=$(cat "$folder/$name.code" 2>/dev/null || echo none)
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$folder/$name.log" 2>/dev/null | tail -1 || true)
    grep '^Skipped: ' "$folder/$name.log" >>"$skips" 2>/dev/null || true

    if [[ $exit_code != none && $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        passed=$((passed + BASH_REMATCH[1]))
        failed=$((failed + BASH_REMATCH[2]))
        skipped=$((skipped + BASH_REMATCH[3]))
        if [[ $exit_code != 0 && ${BASH_REMATCH[2]} -eq 0 ]]; then
            echo "$name ended with exit code $exit_code though no test failed: counted as 1 failure."
            failed=$((failed + 1))
        fi
    else
        echo "$name ended with exit code $exit_code and no line of counts: counted as 1 failure."
        failed=$((failed + 1))
    fi
}

# Runs tests/Properties as on a machine that has no use for the kernels: switched off, and on a processor without their vectors.
run_tests_without_kernels() {
    local program=tests/Properties/bin/$configuration/net10.0/Properties.dll folder
    passed=0 failed=0 skipped=0
    skips=$(mktemp) folder=$(mktemp -d)
    echo "== TENSORNETS_KERNELS=off"
    TENSORNETS_KERNELS=off run_program "$folder" "$program" "$@"
    count_tests "$folder" Properties
    echo "== DOTNET_EnableAVX512=0"
    DOTNET_EnableAVX512=0 run_program "$folder" "$program" "$@"
    count_tests "$folder" Properties
    rm -rf "$folder"
    print_total
}

# Runs every test program that was built; prints what was skipped and why, and last the total. Properties keeps every processor busy; the others,
# which mostly wait for one program after the other, run beside it.
run_all_tests() {
    local project name folder programs=() names=()
    passed=0 failed=0 skipped=0
    skips=$(mktemp) folder=$(mktemp -d)

    for project in tests/*/*.*proj; do
        name=$(basename "${project%.*}")
        names+=("$name")
        programs+=("$(dirname "$project")/bin/$configuration/net10.0/$name.dll")
    done

    # A job in the background does not hear Ctrl-C.
    trap 'pkill -TERM -P "$beside" 2>/dev/null || true' EXIT
    # Its laws of products want ours, which on processors of Intel are made for this word alone.
    TENSORNETS_KERNELS=${TENSORNETS_KERNELS:-all} run_program "$folder" "tests/Properties/bin/$configuration/net10.0/Properties.dll" "$@" &
    beside=$!
    for project in "${programs[@]}"; do
        [[ $project == */Properties.dll ]] || run_program "$folder" "$project" "$@"
    done
    wait "$beside" || true
    trap - EXIT
    for name in "${names[@]}"; do count_tests "$folder" "$name"; done
    rm -rf "$folder"
    print_total
}

print_total() {
    echo
    cat "$skips"
    rm -f "$skips"
    if [[ $skipped -gt 0 ]]; then
        echo "$passed passed, $failed failed, $skipped skipped"
    else
        echo "$passed passed, $failed failed"
    fi
    [[ $failed -eq 0 ]]
}

# Paket leaves the hour of packing in the packages: packages.fsx takes it out.
pack() {
    local folder=${1:-packages} project
    mkdir -p "$folder"
    rm -f "$folder"/TensorNets.*.nupkg "$folder"/TensorNets.*.snupkg
    for project in src/TensorNets.Core.fs src/TensorNets.CSharp src/TensorNets.Onnx; do
        dotnet build "$project" --configuration "$configuration" --verbosity quiet --nologo
        dotnet pack "$project" --configuration "$configuration" --no-build --output "$folder" --verbosity quiet --nologo
    done
    dotnet fsi --quiet src/packages.fsx "$folder"
}

# A system's package takes about 130 MB.
pack_tool() {
    local folder=${1:-packages} project=src/TensorNets.Tool
    # Not as -p:…, in which a list is one word.
    export ToolPackageRuntimeIdentifiers=${TENSORNETS_SYSTEMS:-linux-x64;win-x64;osx-arm64}
    mkdir -p "$folder"
    rm -f "$folder"/TensorNets.Tool.*nupkg
    dotnet restore "$project" --verbosity quiet
    dotnet pack "$project" --configuration "$configuration" --output "$folder" --verbosity quiet --nologo
    ls -l "$folder"/TensorNets.Tool.*nupkg
}

fantomas_paths=(src tests docs benchmarks)

# The complaint about each F# project is left out: those are Fantomas's.
format_csharp() { dotnet format "$solution" --no-restore "$@" 2> >(grep -v 'supports only C#' >&2); }

format() {
    dotnet tool restore >/dev/null
    dotnet fantomas "${fantomas_paths[@]}"
    dotnet restore "$solution" --verbosity quiet
    format_csharp
}

check_format() {
    dotnet tool restore >/dev/null
    dotnet fantomas --check "${fantomas_paths[@]}"
    dotnet restore "$solution" --verbosity quiet
    format_csharp --verify-no-changes
}

# Every script under docs/ runs by itself, as many at once as there are processors, then again inside its page. fsdocs passes over exceptions, so both
# are looked at.
docs() {
    local logs
    logs=$(mktemp -d)
    export -f show_at_end
    git ls-files --cached --others --exclude-standard 'docs/*.fsx' |
        xargs -P "$(nproc)" -I '{}' bash -c 'show_at_end "$1" "$2" "$1/$(basename "$2")" dotnet fsi --quiet "$2"' _ "$logs" '{}'
    rm -rf "$logs"

    mkdir -p output # cleaning wants it to exist
    dotnet fsdocs build --eval --clean --strict --nodefaultcontent --properties Configuration="$configuration" --parameters root '%root%/' |
        grep -vE '^ *(copying|skipping|generating|Generating|reading|registering|found|please set|preparing|writing) |^$'
    finish_site

    if grep -rl --include='*.html' 'No value returned by any evaluator' output; then
        echo "A page lacks a value: see the files above." >&2
        return 1
    fi
}

# Makes the addresses of the pages relative, so that they work in a folder and under any path; leaves out what is no page, and what was not to be had.
finish_site() {
    local page absent=(-e '/{{fsdocs-repository-link}}/d' -e '/class="repository" href=""/d') # where no repository is set
    rm -rf output/host output/content/{img,katex} output/*.config output/*.props
    find output/samples -type f ! -name '*.html' ! -name '*.md' -delete
    find output/samples -type d -empty -delete
    fetch_katex || absent+=(-e '/content\/katex\//d')

    # fsdocs links types of other assemblies to pages that it does not write.
    while IFS= read -r page; do
        [[ -f output/reference/$page ]] || absent+=(-e "s#<a href=\"[^\"]*/$page\">\\([^<]*\\)</a>#\\1#g")
    done < <(grep -rhoE --include='*.html' 'reference/[A-Za-z0-9.-]+\.html' output | sed 's#^reference/##' | sort -u)

    while IFS= read -r page; do
        case $page in
            output/*/*/*) sed -e 's#%root%/#../../#g' "${absent[@]}" "$page" ;;
            output/*/*) sed -e 's#%root%/#../#g' "${absent[@]}" "$page" ;;
            *) sed -e 's#%root%/##g' "${absent[@]}" "$page" ;;
        esac >output/.page
        mv output/.page "$page"
    done < <(find output -name '*.html' -o -name '*.txt')

    { printf 'window.searchIndex = ' && sed -e 's#%root%/##g' output/index.json; } >output/content/search-index.js
    rm output/index.json
    dotnet "docs/.build/DocsHost/bin/$configuration/net10.0/linux-x64/DocsHost.dll" output
}

katex_version=0.19.1
katex_sha512=8c6f2e2a7b63484726d84a503a1d17b6eae93eeb82f6bdd2ab91cb1ddb05756653dbb13aef6485d7d4048bea1fd3f61e3b2d7994381184abebe7ad78b91ac47c

# KaTeX (MIT, its licence goes along) draws the formulas. It comes from the npm registry, is held against a checksum, kept under docs/.build and copied to the site.
fetch_katex() {
    local kept=$PWD/docs/.build/katex-$katex_version
    if [[ ! -f $kept/katex.min.js ]]; then
        local fresh
        fresh=$(mktemp -d)
        if ! (cd "$fresh" && npm pack --silent "katex@$katex_version" && sha512sum --quiet --check <<<"$katex_sha512  katex-$katex_version.tgz" && tar xzf "katex-$katex_version.tgz") >/dev/null 2>&1; then
            rm -rf "$fresh"
            echo "Skipped: katex $katex_version could not be had by npm; formulas stay in the notation of TeX."
            return 1
        fi
        mkdir -p "$kept/fonts"
        cp "$fresh"/package/LICENSE "$fresh"/package/dist/katex.min.{js,css} "$kept"
        cp "$fresh"/package/dist/fonts/*.woff2 "$kept/fonts"
        rm -rf "$fresh"
    fi
    mkdir -p output/content
    cp -r "$kept" output/content/katex
}

# Paket knows a package's dependencies only once the package is in the cache, so it resolves until nothing changes any more.
lock() {
    local before after
    dotnet tool restore >/dev/null

    for _ in 1 2 3 4 5 6 7 8; do
        before=$(cat paket.lock 2>/dev/null || true)
        rm -f paket.lock
        dotnet paket install >/dev/null
        after=$(sed "s#^  remote: .*#  remote: %NUGET_INDEX%#" paket.lock)
        printf '%s\n' "$after" >paket.lock
        if [[ $after == "$before" ]]; then
            echo "paket.lock is complete: $(wc -l <paket.lock) lines"
            return
        fi
    done

    echo "paket.lock still changes after 8 rounds" >&2
    return 1
}

package_source
verb=${1:-}
[[ $# -gt 0 ]] && shift

case $verb in
    build) build ;;
    test) build && run_all_tests "$@" ;;
    test-without-kernels) build && run_tests_without_kernels "$@" ;;
    pack) pack "$@" ;;
    pack-tool) pack_tool "$@" ;;
    format) format ;;
    check-format) check_format ;;
    docs) build && docs ;;
    lock) lock ;;
    *)
        usage
        [[ -z $verb ]]
        ;;
esac
