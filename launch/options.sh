# What the scripts beside this one share; they source it.
# shellcheck shell=bash
# shellcheck disable=SC2154  # variables that the scripts set

die() {
  echo "${0##*/}: error: $*" >&2
  exit 2
}

# Reads a command line: `--some-name VALUE` sets some_name where `valued` has some-name, `--some-name`
# sets it to yes where `flags` has it. What goes to `smem train` comes into the array `more`, the words
# of the program into `smem`.
parse() {
  local option
  more=()
  while [ $# -gt 0 ]; do
    option=${1#--}
    case $1 in
      --help | -h)
        sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
        exit
        ;;
      --)
        shift
        more+=("$@")
        break
        ;;
      [!-]*=*) more+=("$1") ;;
      *)
        [[ $1 =~ ^--[a-z-]+$ ]] || die "unknown argument '$1'; see ${0##*/} --help"
        if [[ " $flags " = *" $option "* ]]; then
          printf -v "${option//-/_}" yes
        elif [[ " $valued " = *" $option "* ]]; then
          [ $# -gt 1 ] || die "$1 needs a value"
          set_option "${option//-/_}" "$2"
          shift
        else
          die "unknown argument '$1'; see ${0##*/} --help"
        fi
        ;;
    esac
    shift
  done
  read -r -a smem <<<"${SMEM:-smem}"
}

set_option() { printf -v "$1" %s "$2"; }

need() { # dies where one of these variables is empty
  local option
  for option; do
    [ -n "${!option}" ] || die "--$option is missing; see ${0##*/} --help"
  done
}

positive() { # dies where one of these variables is not 1 or more
  local option
  for option; do
    [[ ${!option} =~ ^[1-9][0-9]*$ ]] || die "--${option//_/-} is '${!option}'; it has to be 1 or more"
  done
}

no_overwrite() { # for what starts a run again by itself
  local word
  for word in ${more[@]+"${more[@]}"}; do
    [ "$word" != --overwrite ] || die "--overwrite would drop the run at each restart; empty --workdir first"
  done
}

need_program() {
  command -v "${smem[0]}" >/dev/null ||
    die "'${smem[0]}' is not on the PATH; activate its environment or set SMEM=/path/to/smem"
}

# Checks what runs on a TPU slice have in common; sets bucket and path, chip and shape.
check_slice() {
  # The names of GKE's pods are longer by 21 characters and are labels, of 63 at most.
  [[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
    die "--name is '$name'; it has to be at most 40 of a-z, 0-9 and -, beginning with a letter"
  [[ $max_restarts =~ ^(0|[1-9][0-9]*)$ ]] || die "--max-restarts is '$max_restarts'; it has to be 0 or more"
  [[ $workdir =~ ^gs://([a-z0-9][-_.a-z0-9]+)/(.*[^/])/?$ ]] ||
    die "--workdir is '$workdir'; it has to be gs://BUCKET/PATH"
  bucket=${BASH_REMATCH[1]} path=${BASH_REMATCH[2]}
  case $config in
    /*) ;;
    *) [ -f "$config" ] || die "--config $config: no such file here; give one of the image alone by its full path" ;;
  esac
  chip=${topology%%:*} shape=${topology#*:}
}
